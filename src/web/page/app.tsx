/** The whole: what is where, and what stays while one looks at this and that. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { CreateDialog, type Preset } from './create-dialog.tsx';
import { Header } from './header.tsx';
import { Machine } from './machine.tsx';
import { MachineList } from './machine-list.tsx';
import { Notices } from './notices.tsx';
import { Overview } from './overview.tsx';
import { useRoute } from './route.ts';
import { errorText, useStore } from './store.ts';

export function App() {
  const store = useStore();
  const route = useRoute();
  const [preset, setPreset] = useState<Preset | undefined>();
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  const guest = route.machine === undefined ? undefined : store.guest(route.machine);

  // Before anybody sees the view: the next key is meant for it.
  useLayoutEffect(() => {
    const place = route.machine ?? 'All machines';
    document.title = `${place} – Domus`;
    // Who follows a link expects to read on there, a screen reader too. The first view leaves the focus where it is.
    if (!isFirst.current) {
      main.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    isFirst.current = false;
  }, [route.machine]);

  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Header />
      <MachineList current={route.machine} onCreate={() => setPreset({})} />
      <main id="main" ref={main} tabIndex={-1}>
        {store.failure && (
          <p class="banner" role="alert">
            {errorText(store.failure)}
          </p>
        )}
        {route.machine === undefined && (
          <Overview onCreate={() => setPreset({})} onStart={snapshot => setPreset({ snapshot })} />
        )}
        {guest && <Machine key={guest.id} guest={guest} tab={route.tab} />}
        {route.machine !== undefined && !guest && store.info && (
          <section class="empty">
            <h1>There is no machine {route.machine}</h1>
            <p>
              It may have been destroyed or renamed. <a href="#/">See all machines</a>
            </p>
          </section>
        )}
      </main>
      <Notices />
      {preset && <CreateDialog preset={preset} onClose={() => setPreset(undefined)} />}
    </>
  );
}
