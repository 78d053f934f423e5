/**
 * The user's terminal. Raw mode is a promise to give the terminal back: it is restored by the returned function, at
 * the end of the process however it comes, and after a stop and continue by job control.
 */
import type { Terminal } from '../platform.ts';
import { descriptorKind } from './descriptors.ts';

const isTerminal = (fd: number): boolean => descriptorKind(fd) === 'terminal';

export function createTerminal(): Terminal {
  return {
    isInputTerminal: isTerminal(0),
    isOutputTerminal: isTerminal(1),
    isErrorTerminal: isTerminal(2),
    size: () => ({ columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }),
    onResize(listener) {
      const { stdout } = process;
      stdout.on('resize', listener);
      return () => stdout.removeListener('resize', listener);
    },
    enterRawMode() {
      const { stdin } = process;
      if (stdin.isTTY !== true) return () => {};
      const wasRaw = stdin.isRaw;
      let isActive = true;
      const setRaw = (isRaw: boolean) => {
        // A terminal that has been closed (hang-up) cannot be restored, and need not be.
        if (!stdin.destroyed) stdin.setRawMode(isRaw);
      };
      const resume = () => setRaw(true);
      const restore = () => {
        if (!isActive) return;
        isActive = false;
        process.removeListener('exit', restore);
        process.removeListener('SIGCONT', resume);
        setRaw(wasRaw);
      };
      process.on('exit', restore);
      process.on('SIGCONT', resume);
      setRaw(true);
      return restore;
    },
  };
}
