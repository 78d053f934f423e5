/** Where the page is: `#/` or `#/machines/NAME/TAB`. So the browser's own way back works, and a machine can be bookmarked. */
import { useLayoutEffect, useState } from 'preact/hooks';

export const TABS = ['overview', 'terminal', 'memory', 'log'] as const;
export type Tab = (typeof TABS)[number];

export interface Route {
  readonly machine?: string;
  readonly tab: Tab;
}

export const machinePath = (name: string, tab: Tab = 'overview'): string =>
  `#/machines/${encodeURIComponent(name)}${tab === 'overview' ? '' : `/${tab}`}`;

function parse(hash: string): Route {
  const match = /^#\/machines\/([^/]+)(?:\/(\w+))?$/.exec(hash);
  if (!match?.[1]) return { tab: 'overview' };
  try {
    const tab = TABS.find(each => each === match[2]) ?? 'overview';
    return { machine: decodeURIComponent(match[1]), tab };
  } catch {
    return { tab: 'overview' };
  }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parse(location.hash));
  // Not after the page is painted: the address may change before.
  useLayoutEffect(() => {
    const follow = () => setRoute(parse(location.hash));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  return route;
}

export function go(path: string): void {
  location.hash = path;
}
