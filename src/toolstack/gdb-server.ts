/** `--gdb PORT`: a gdb server on 127.0.0.1, for one gdb at a time. */
import { DomusError } from '../base/errors.ts';
import { type Connection, type Listener, tryListenLocal } from '../platform/node/listener.ts';
import { createGdbSession, type GdbSession } from './gdb-session.ts';
import type { DebugTarget } from './gdb-target.ts';

export interface GdbServer {
  readonly port: number;
  /** Settles when the first gdb has attached. The machine is stopped then, until gdb lets it go. */
  readonly attached: Promise<void>;
  close(): Promise<void>;
}

export async function startGdbServer(target: DebugTarget, port: number): Promise<GdbServer> {
  let session: GdbSession | undefined;
  let announce: () => void = () => {};
  const attached = new Promise<void>(resolve => {
    announce = resolve;
  });
  target.onStop(stop => session?.stopped(stop));

  function accept(connection: Connection): void {
    if (session) {
      connection.close();
      return;
    }
    const own = createGdbSession(target, connection);
    session = own;
    // What gdb says first waits until the machine stands still.
    const early: Uint8Array[] = [];
    let isReady = false;
    connection.onData(chunk => {
      if (isReady) own.receive(chunk);
      else early.push(chunk);
    });
    connection.onClose(() => {
      session = undefined;
      void own.disconnected();
    });
    void target.stop().then(() => {
      isReady = true;
      for (const chunk of early) own.receive(chunk);
      announce();
    });
  }

  const result = await tryListenLocal(port, accept);
  if ('reason' in result) {
    throw new DomusError(
      'E_GDB_PORT',
      `cannot listen for gdb on 127.0.0.1:${port}: ${result.reason}`,
      'Choose another port; 0 takes any that is free.',
    );
  }
  const { listener }: { listener: Listener } = result;
  return { port: listener.port, attached, close: () => listener.close() };
}
