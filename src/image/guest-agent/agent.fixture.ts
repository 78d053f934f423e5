/** The agent as a process of this machine, which is a Linux on x86-64 as its guests are. For tests. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type AgentChannel, openAgentChannel } from './agent-channel.ts';

export const AGENT = fileURLToPath(new URL('../../../dist/guest-agent', import.meta.url));
const TOOL = '/bin/cat';
export const skip =
  process.platform !== 'linux' || process.arch !== 'x64'
    ? 'needs Linux on x86-64'
    : existsSync(AGENT)
      ? false
      : 'needs the build';

export interface RunningAgent {
  readonly channel: AgentChannel;
  readonly child: ChildProcess;
  /** End it. */
  [Symbol.dispose](): void;
}

export function startAgent(): RunningAgent {
  const tool = openSync(TOOL, 'r');
  const child = spawn(AGENT, { stdio: ['pipe', 'pipe', 'inherit', tool] });
  closeSync(tool);
  const { stdin, stdout } = child;
  stdin!.on('error', () => {});
  const channel = openAgentChannel({
    onData: listener => void stdout!.on('data', chunk => void listener(new Uint8Array(chunk))),
    write(bytes) {
      stdin!.write(Uint8Array.from(bytes));
      return bytes.length;
    },
    onWritable() {},
    close: () => void stdin!.end(),
  });
  child.on('close', () => channel.finish());
  return { channel, child, [Symbol.dispose]: () => void child.kill('SIGKILL') };
}

export const hasProgram = (name: string): boolean => spawnSync(name, ['--version']).error === undefined;
