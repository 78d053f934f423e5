/** A guest's console (hvc0) in the form of a command that runs as long as the guest does. */
import type { RunningCommand } from '../boot.ts';
import type { VirtualMachine } from '../virtual-machine.ts';

/** Output that waits for a slow reader; more is dropped, because a guest's console must not wait for who watches it. */
const WAITING_BYTES_MAX = 256 << 10;

export function attachConsole(
  vm: VirtualMachine,
  attach: (running: RunningCommand) => void,
  signal: AbortSignal,
): Promise<number> {
  let stop = () => {};
  let waiting = 0;
  let last: Promise<void> = Promise.resolve();
  const ended = Promise.withResolvers<number>();
  attach({
    onStdout(listener) {
      stop = vm.onConsole(chunk => {
        if (waiting + chunk.length > WAITING_BYTES_MAX) return;
        waiting += chunk.length;
        last = last
          .then(() => listener(chunk))
          .finally(() => {
            waiting -= chunk.length;
          });
        last.catch(() => {});
      });
    },
    onStderr() {},
    writeStdin: chunk => vm.writeConsole(chunk).catch(() => {}),
    closeStdin() {},
    resize() {},
    kill: () => ended.resolve(0),
    hasExited: false,
    exit: ended.promise,
  });
  signal.addEventListener('abort', () => ended.resolve(0), { once: true });
  void vm.stopped.then(() => ended.resolve(0));
  return ended.promise.then(async code => {
    stop();
    await last;
    return code;
  });
}
