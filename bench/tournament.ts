/**
 * Runs programs on all rivals in turn, so that a slow minute of the machine hits all of them, and sees to it that all compute the
 * same. A rival that fails at a program loses that program only: its engine is started anew for the next one.
 */
import type { BootFiles } from './guest-image.ts';
import { judge } from './judge.ts';
import { CannotRun, type CommandResult } from './lines.ts';
import type { Clock, Measurement, Problem } from './result.ts';
import { openSession, type Rival, type RivalOptions } from './rivals.ts';
import type { Session } from './session.ts';

/** One thing to run: a line for the driver's shell. */
export interface Task {
  readonly suite: string;
  readonly program: string;
  readonly command: string;
  /** Why a rival cannot run it. */
  readonly impossible?: (rival: Rival) => string | undefined;
  /** Rivals for which it is not meant are not mentioned; without it, all of them. */
  readonly isFor?: (rival: Rival) => boolean;
}

export interface TournamentOptions {
  readonly boot: BootFiles;
  readonly rivals: readonly Rival[];
  readonly options: RivalOptions;
  readonly repeat: number;
  readonly timeoutMs: number;
  /** Which time counts. */
  readonly clock: Clock;
  readonly say: (text: string) => void;
}

export interface Outcome {
  readonly measurements: readonly Measurement[];
  readonly problems: readonly Problem[];
}

/** What one rival made of one task. */
interface Entry {
  readonly samples: number[];
  check?: string;
  instructions?: number;
  /** It does not take part any more. */
  why?: string;
  /** It should have worked. */
  isFailure: boolean;
}

/** The engines, started when they are needed first. One that does not start is not tried again. */
function createPool({ boot, options, say }: TournamentOptions) {
  const sessions = new Map<Rival, Session | Error>();
  return {
    async open(rival: Rival): Promise<Session> {
      let session = sessions.get(rival);
      if (!session) {
        say(`starting ${rival.name}`);
        try {
          session = await openSession(rival, boot, options);
        } catch (error) {
          session = new Error(`does not start: ${(error as Error).message}`);
        }
        sessions.set(rival, session);
      }
      if (session instanceof Error) throw session;
      return session;
    },
    async drop(rival: Rival): Promise<void> {
      const session = sessions.get(rival);
      if (!session || session instanceof Error) return;
      sessions.delete(rival);
      await session.close();
    },
  };
}

function describe({ ms, cpuMs, check, retired }: CommandResult): string {
  const cpu = cpuMs === undefined ? '' : ` (processor ${cpuMs.toFixed(0)} ms)`;
  const rate = retired === undefined ? '' : `, ${(retired / (cpuMs ?? ms) / 1000).toFixed(0)} M instr/s`;
  return `${ms.toFixed(0)} ms${cpu}, check ${check}${rate}`;
}

export async function runTournament(tasks: readonly Task[], plan: TournamentOptions): Promise<Outcome> {
  const pool = createPool(plan);
  const measurements: Measurement[] = [];
  const problems: Problem[] = [];
  for (const task of tasks) {
    const say = (rival: Rival, text: string) =>
      plan.say(`${task.suite}/${task.program}: ${rival.name} ${text}`);
    const entries = new Map<Rival, Entry>();
    for (const rival of plan.rivals) {
      if (task.isFor?.(rival) === false) continue;
      const why = task.impossible?.(rival);
      entries.set(rival, { samples: [], isFailure: false, ...(why !== undefined && { why }) });
    }
    for (let turn = 1; turn <= plan.repeat; turn++) {
      for (const [rival, entry] of entries) {
        if (entry.why !== undefined) continue;
        try {
          const session = await pool.open(rival);
          const result = await session.run(task.command, plan.timeoutMs);
          say(rival, describe(result));
          const { ms, cpuMs, check, retired } = result;
          if (entry.check !== undefined && entry.check !== check) {
            throw new Error(`computed ${entry.check} first and then ${check}`);
          }
          entry.samples.push(plan.clock === 'cpu' ? (cpuMs ?? ms) : ms);
          entry.check = check;
          if (retired !== undefined) entry.instructions = retired;
        } catch (error) {
          entry.why = (error as Error).message;
          entry.isFailure = !(error instanceof CannotRun);
          if (entry.isFailure) await pool.drop(rival);
        }
      }
    }
    const finished = [...entries].filter(([, { why }]) => why === undefined);
    for (const [rival, why] of judge(new Map(finished.map(([rival, { check = '' }]) => [rival, check])))) {
      Object.assign(entries.get(rival)!, { why, isFailure: true });
    }
    for (const [rival, { samples, check, instructions, why, isFailure }] of entries) {
      const place = { suite: task.suite, program: task.program, engine: rival.name };
      if (why === undefined) {
        measurements.push({ ...place, unit: 'ms', better: 'lower', samples, check, instructions });
      } else {
        if (isFailure) say(rival, `FAILED: ${why}`);
        problems.push({ ...place, why, isFailure });
      }
    }
  }
  for (const rival of plan.rivals) await pool.drop(rival);
  return { measurements, problems };
}
