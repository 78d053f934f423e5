/**
 * Runs programs on all rivals in turn, so that a slow minute of the machine hits all of them, and sees to it that all compute the
 * same. A rival that fails at a program loses that program only: its engine is started anew for the next one.
 */
import type { BootFiles } from './guest-image.ts';
import { CannotRun } from './lines.ts';
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

export async function runTournament(tasks: readonly Task[], plan: TournamentOptions): Promise<Outcome> {
  const { repeat, say } = plan;
  const sessions = new Map<Rival, Session>();
  const measurements: Measurement[] = [];
  const problems: Problem[] = [];
  const open = async (rival: Rival): Promise<Session> => {
    const known = sessions.get(rival);
    if (known) return known;
    say(`starting ${rival.name}`);
    const session = await openSession(rival, plan.boot, plan.options);
    sessions.set(rival, session);
    return session;
  };
  const drop = async (rival: Rival): Promise<void> => {
    await sessions.get(rival)?.close();
    sessions.delete(rival);
  };
  const hopeless = new Map<Rival, string>();

  for (const task of tasks) {
    const rivals = plan.rivals.filter(rival => task.isFor?.(rival) ?? true);
    const samples = new Map<Rival, number[]>();
    const checks = new Map<Rival, string>();
    const instructions = new Map<Rival, number>();
    const failed = new Map<Rival, string>(hopeless);
    const unable = new Set<Rival>();
    for (const rival of rivals) {
      const why = task.impossible?.(rival);
      if (why === undefined) continue;
      failed.set(rival, why);
      unable.add(rival);
    }
    for (let turn = 1; turn <= repeat; turn++) {
      for (const rival of rivals) {
        if (failed.has(rival)) continue;
        let session: Session;
        try {
          session = await open(rival);
        } catch (error) {
          const why = `does not start: ${(error as Error).message}`;
          hopeless.set(rival, why);
          failed.set(rival, why);
          continue;
        }
        try {
          const { ms: wallMs, cpuMs, check, retired } = await session.run(task.command, plan.timeoutMs);
          const ms = plan.clock === 'cpu' ? (cpuMs ?? wallMs) : wallMs;
          const rate =
            retired === undefined
              ? ''
              : `, ${(retired / ms / 1000).toFixed(0)} million instructions a second`;
          say(
            `${task.suite}/${task.program}: ${rival.name} ${wallMs.toFixed(0)} ms${cpuMs === undefined ? '' : ` (processor ${cpuMs.toFixed(0)} ms)`}, check ${check}${rate}`,
          );
          if (retired !== undefined) instructions.set(rival, retired);
          samples.set(rival, [...(samples.get(rival) ?? []), ms]);
          const earlier = checks.get(rival);
          if (earlier !== undefined && earlier !== check) {
            throw new Error(`computed ${earlier} first and then ${check}`);
          }
          checks.set(rival, check);
        } catch (error) {
          failed.set(rival, (error as Error).message);
          if (error instanceof CannotRun) unable.add(rival);
          else await drop(rival);
        }
      }
    }
    // The host's processor is right; without it the majority's first member decides.
    const judge = rivals.findLast(rival => checks.has(rival) && !failed.has(rival));
    const expected = judge && checks.get(judge);
    for (const rival of rivals) {
      const check = checks.get(rival);
      if (!failed.has(rival) && check !== expected) {
        failed.set(rival, `computed ${check}, ${judge?.name} ${expected}`);
      }
      const why = failed.get(rival);
      const place = { suite: task.suite, program: task.program, engine: rival.name };
      if (why !== undefined) {
        const isExpected = unable.has(rival);
        if (!isExpected) say(`${task.suite}/${task.program}: ${rival.name} FAILED: ${why}`);
        problems.push({ ...place, why, isFailure: !isExpected });
      } else if (check !== undefined) {
        measurements.push({
          ...place,
          unit: 'ms',
          better: 'lower',
          samples: samples.get(rival)!,
          check,
          instructions: instructions.get(rival),
        });
      }
    }
  }
  for (const rival of plan.rivals) await drop(rival);
  return { measurements, problems };
}
