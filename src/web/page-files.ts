/** The page's files, which the build left in dist/web/, and the headers that go with everything that is served. */
import { DomusError } from '../base/errors.ts';
import { readAssetIfBuilt } from '../platform/node/files.ts';
import type { WebReply } from '../platform/node/web-http.ts';

/** Where the build puts them, and under which paths they are served. */
const FILES: Readonly<Record<string, readonly [file: string, contentType: string]>> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
  '/favicon.ico': ['icon.svg', 'image/svg+xml'],
  '/icon.svg': ['icon.svg', 'image/svg+xml'],
};
/** In index.html, in place of a number that is another one each time. */
const NONCE = '__NONCE__';

/**
 * Nothing comes from elsewhere, nothing goes elsewhere, no script but the page's own runs. xterm makes style elements, which carry the
 * nonce (page/terminal.tsx), and sets style attributes for colours that have no class.
 */
const policy = (nonce: string): string =>
  [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "style-src-attr 'unsafe-inline'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');

const HEADERS = {
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const;

/** For all that is no page. */
export const PLAIN_HEADERS = { ...HEADERS, 'content-security-policy': "default-src 'none'" } as const;

/** @throws DomusError E_WEB_PAGE */
export function checkPage(): void {
  if (readAssetIfBuilt('web/index.html') && readAssetIfBuilt('web/page.js')) return;
  throw new DomusError('E_WEB_PAGE', 'the page is not built', 'run "npm run build" in the clone of Domus');
}

/** Undefined for what is no file of the page. @param nonce letters and digits that nobody can guess */
export function pageFile(path: string, nonce: string): WebReply | undefined {
  const known = Object.hasOwn(FILES, path) ? FILES[path] : undefined;
  const bytes = known && readAssetIfBuilt(`web/${known[0]}`);
  if (!bytes) return undefined;
  const isPage = path === '/';
  return {
    status: 200,
    headers: {
      ...(isPage ? { ...HEADERS, 'content-security-policy': policy(nonce) } : PLAIN_HEADERS),
      'content-type': known[1],
    },
    body: isPage ? new TextDecoder().decode(bytes).replaceAll(NONCE, nonce) : bytes,
  };
}
