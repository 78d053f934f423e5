/** A host for tests with a real kernel; tests that need one are left out where none is to be had. */
import { after, before, type TestContext, test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { Host, type HostOptions } from '../src/toolstack/index.ts';

/** @param timeoutMs for the first run, which may fetch the kernel */
export function realHost(options: HostOptions = {}, timeoutMs?: number) {
  let host: Host;
  let unavailable: string | undefined;
  before(async () => {
    host = await Host.open(options);
    try {
      await host.run({ command: ['true'], isPrepared: true, ...(timeoutMs && { timeoutMs }) });
    } catch (error) {
      const isMissing = error instanceof DomusError && /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code);
      if (!isMissing) throw error;
      unavailable = `no Debian kernel to be had: ${error.message}`;
    }
  });
  after(() => host[Symbol.asyncDispose]());
  return {
    get host(): Host {
      return host;
    },
    guest: (name: string, run: (t: TestContext) => Promise<void>) =>
      test(name, async t => {
        if (unavailable !== undefined) t.skip(unavailable);
        else await run(t);
      }),
  };
}
