/**
 * Progress on standard error: on a terminal one line that is rewritten and shows the seconds, elsewhere one plain line
 * a phase. The line disappears before the guest's own output begins.
 */

import type { Phase } from '../toolstack/boot.ts';
import type { CommandContext } from './verb.ts';

export interface Progress {
  show(phase: Phase): void;
  /** Remove the updating line; nothing more is shown until the next phase. */
  clear(): void;
}

const UPDATE_MS = 200;
const WORDS: Readonly<Record<string, string>> = {
  kernel: 'kernel',
  userland: 'userland',
  create: 'machine',
  boot: 'boot',
  ready: 'ready',
};

type Needs = Pick<CommandContext, 'stderr' | 'terminal' | 'timers' | 'env'>;

export function createProgress(context: Needs, isQuiet: boolean): Progress {
  if (isQuiet) return { show: () => {}, clear: () => {} };
  const isLive = context.terminal.isErrorTerminal && !context.env.CI && context.env.TERM !== 'dumb';
  return isLive ? liveProgress(context) : plainProgress(context);
}

const describe = (phase: Phase) => [WORDS[phase.name] ?? phase.name, phase.detail].filter(Boolean).join(': ');

function share(phase: Phase): string {
  if (phase.done === undefined || !phase.total) return '';
  return ` ${Math.floor((100 * phase.done) / phase.total)} %`;
}

function plainProgress({ stderr }: Needs): Progress {
  let last = '';
  return {
    show(phase) {
      const line = describe(phase);
      if (line === last || phase.name === 'ready') return;
      last = line;
      stderr.write(encode(`domus: ${line}\n`)).catch(() => {});
    },
    clear() {},
  };
}

function liveProgress({ stderr, timers, env, terminal }: Needs): Progress {
  const dim = env.NO_COLOR ? (text: string) => text : (text: string) => `\x1b[2m${text}\x1b[22m`;
  let current: Phase | undefined;
  let ticks = 0;
  let stop: (() => void) | undefined;
  const draw = () => {
    if (!current) return;
    const seconds = ((ticks * UPDATE_MS) / 1000).toFixed(1);
    const text = `domus: ${describe(current)}${share(current)} ${seconds} s`;
    stderr.write(encode(`\r\x1b[K${dim(text.slice(0, terminal.size().columns - 1))}`)).catch(() => {});
  };
  const clear = () => {
    stop?.();
    stop = undefined;
    if (current) stderr.write(encode('\r\x1b[K')).catch(() => {});
    current = undefined;
  };
  return {
    show(phase) {
      if (phase.name === 'ready') return clear();
      if (phase.name !== current?.name) ticks = 0;
      current = phase;
      stop ??= timers.every(UPDATE_MS, () => {
        ticks += 1;
        draw();
      });
      draw();
    },
    clear,
  };
}

const encode = (text: string) => new TextEncoder().encode(text);
