/** An engine at work on programs, one after the other: in one guest that stays, or bare in a process for each. */
import { type CommandLine, startEngine } from './engine-process.ts';
import { type CommandResult, readCommand } from './lines.ts';

export interface Session {
  run(command: string, timeoutMs: number): Promise<CommandResult>;
  close(): Promise<void>;
}

const READY_TIMEOUT_MS = 120_000;
const END_PATIENCE_MS = 10_000;

/** A guest (or the host) with the driver of guest-image.ts, which obeys commands. */
export async function openDriverSession(commandLine: CommandLine): Promise<Session> {
  const engine = startEngine(commandLine);
  await engine.until('@ready', READY_TIMEOUT_MS);
  return {
    async run(command, timeoutMs) {
      engine.write(command);
      return readCommand(await engine.until('@exit', timeoutMs));
    },
    async close() {
      engine.write('quit');
      await engine.end(END_PATIENCE_MS);
    },
  };
}

/** A process for each program. `commandLine` turns a command, `$BENCH/NAME COUNT`, into one of the host. */
export const bareSession = (commandLine: (program: string, count: string) => CommandLine): Session => ({
  async run(command, timeoutMs) {
    const [program, count] = command.split(' ') as [string, string];
    const engine = startEngine(commandLine(program.replace('$BENCH/', ''), count));
    const lines = await engine.until('@exit', timeoutMs);
    await engine.end(0);
    return readCommand(lines);
  },
  async close() {},
});
