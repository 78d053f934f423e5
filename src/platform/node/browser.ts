/** The user's browser. */
import { spawn } from 'node:child_process';

/** Show a file in it, if this machine has a screen and a way to; otherwise nothing happens. */
export function openInBrowser(path: string): void {
  const isMac = process.platform === 'darwin';
  if (!isMac && !process.env.DISPLAY && !process.env.WAYLAND_DISPLAY) return;
  const child = spawn(isMac ? 'open' : 'xdg-open', [path], { stdio: 'ignore', detached: true });
  // There is none: the address was printed.
  child.on('error', () => {});
  child.unref();
}
