/** The page of `domus web`: begins here. */
import { render } from 'preact';
import { Api } from './api.ts';
import { App } from './app.tsx';
import { Locked } from './locked.tsx';
import { Store, StoreContext } from './store.ts';
import { takeToken } from './token.ts';

const root = document.getElementById('page');
const token = takeToken();
if (root && token !== undefined) {
  const store = new Store(new Api(token));
  store.start();
  render(
    <StoreContext.Provider value={store}>
      <App />
    </StoreContext.Provider>,
    root,
  );
} else if (root) {
  render(<Locked />, root);
}
