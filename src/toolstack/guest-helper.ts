/**
 * What the agent does in place of an init and of udev, where a guest has none: Linux asks them to do what the toolstack has asked of it by
 * xenstore. Failures are not reported: the guest has been asked, and what it has done is seen from outside.
 */
import type { Timers } from '../platform/platform.ts';
import type { GuestAgent } from './boot.ts';
import { concatenate } from './byte-io.ts';

const OUTPUT_BYTES_MAX = 4096;
const TRIES_MAX = 20;
const RETRY_MS = 250;

async function runTool(agent: GuestAgent, ...argv: string[]): Promise<{ code: number; text: string }> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const running = agent.run({ argv, env: {}, hasInput: false, isTool: true });
  running.onStdout(chunk => {
    size += chunk.length;
    if (size <= OUTPUT_BYTES_MAX) chunks.push(chunk);
    else running.kill(9);
  });
  const code = await running.exit;
  return { code, text: new TextDecoder().decode(concatenate(chunks)) };
}

/** End a guest whose process 1 is the agent: nobody else in it would. Its disks are synchronised. */
export async function endByAgent(agent: GuestAgent, request: 'poweroff' | 'reboot'): Promise<void> {
  const { text } = await runTool(agent, 'cat', '/proc/1/comm');
  if (text.trim() === 'agent') await runTool(agent, request, '-f');
}

/** Everything that the guest has written is on its disks and in its shared folders. */
export async function syncByAgent(agent: GuestAgent): Promise<void> {
  await runTool(agent, 'sync');
}

/**
 * Bring up the first `count` vCPUs as soon as the kernel has heard of them.
 * @param isWanted whether it still is that number which is asked for: a slow guest may be asked for fewer before it has them all
 */
export async function onlineByAgent(
  agent: GuestAgent,
  count: number,
  timers: Timers,
  isWanted: () => boolean,
): Promise<void> {
  const script = `missing=0; n=1
while [ $n -lt ${count} ]; do
  file=/sys/devices/system/cpu/cpu$n/online
  if [ ! -e $file ]; then missing=1; else read state <$file; [ "$state" = 1 ] || echo 1 >$file || missing=1; fi
  n=$((n + 1))
done
exit $missing`;
  for (let tries = 0; tries < TRIES_MAX && isWanted(); tries++) {
    const { code } = await runTool(agent, 'sh', '-c', script);
    if (code === 0) return;
    await new Promise<void>(resolve => timers.after(RETRY_MS, resolve));
  }
}
