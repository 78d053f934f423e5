/**
 * The token of the address. It is taken out of the address bar at once, so that it is in no bookmark and no screenshot, and kept for this
 * tab alone.
 */
const KEY = 'domus-token';

export function takeToken(): string | undefined {
  const match = /^#token=([0-9a-f]+)$/.exec(location.hash);
  if (match?.[1]) {
    sessionStorage.setItem(KEY, match[1]);
    history.replaceState(null, '', '/#/');
  }
  return sessionStorage.getItem(KEY) ?? undefined;
}

export const forgetToken = (): void => sessionStorage.removeItem(KEY);
