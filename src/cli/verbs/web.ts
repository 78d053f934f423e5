/** `domus web`: a page to look at and work with guests in a browser. */
import { openInBrowser } from '../../platform/node/browser.ts';
import { joinPath, removeFile, writeWhole } from '../../platform/node/cache-folder.ts';
import { defaultStateFolder, processId } from '../../platform/node/state-folder.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { openStateFolder } from '../../toolstack/daemon/paths.ts';
import { linkHost } from '../../web/host-link.ts';
import { startWeb } from '../../web/server.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag, option, parseInteger } from '../options.ts';
import { verb } from '../verb.ts';

export const web = verb({
  name: 'web',
  summary: 'Serve a page on 127.0.0.1 to watch guests and work with them in a browser',
  operands: '',
  options: {
    port: option({
      name: 'port',
      placeholder: 'N',
      summary: 'port to listen on (default: any that is free)',
      parse: parseInteger('port number'),
    }),
    noOpen: flag({ name: 'no-open', summary: 'print the address, and open no browser' }),
  },
  notes: [
    'The address has a token in it: whoever has the address can do what you can do with guests. Ctrl-C ends the server; guests stay.',
  ],
  async run(context, values) {
    using interrupts = watchInterrupts();
    const link = linkHost(context.daemon, await Daemon.connect(context.daemon));
    const server = await startWeb({ link, port: values.port ?? 0 });
    let forwarder: string | undefined;
    try {
      await context.print(`${server.address}\n`);
      if (!values.noOpen && context.terminal.isOutputTerminal) {
        forwarder = await writeForwarder(context.daemon.stateFolder, server.address);
        openInBrowser(forwarder);
      }
      await new Promise<void>(resolve => {
        if (interrupts.signal.aborted) resolve();
        interrupts.signal.addEventListener('abort', () => resolve(), { once: true });
      });
    } finally {
      await server.close();
      if (forwarder !== undefined) await removeFile(forwarder);
    }
    return 0;
  },
});

/** The token must not become an argument of a program, which everybody on this machine can see: a file leads to the address. */
async function writeForwarder(stateFolder: string | undefined, address: string): Promise<string> {
  const { folder } = await openStateFolder(stateFolder ?? defaultStateFolder());
  const path = joinPath(folder, `web-${processId()}.html`);
  await writeWhole(path, `<meta http-equiv="refresh" content="0;url=${address}">\n`, 0o600);
  return path;
}
