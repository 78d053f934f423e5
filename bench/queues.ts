/**
 * Queues of a network device: four iperf3 at once in a guest with two vCPUs on threads of their own, over one queue and over
 * four. What is compared is Domus with itself, above 1 four are faster; QEMU's user network has one queue.
 */
import { checkSent, freePort, HOST, MIB, networked, prepareIperf, startServers } from './iperf.ts';
import type { BenchOptions } from './options.ts';
import { ALL, type Measurement } from './result.ts';
import { isUsual, type Rival } from './rivals.ts';
import { median } from './statistics.ts';
import { type Outcome, runTournament, type Task } from './tournament.ts';

export const QUEUES_SUITE = 'queues';
const NR_CLIENTS = 4;
const QUEUES = [1, 4];

export const QUEUES_PROGRAMS = [
  { name: 'guest-to-host-4', about: 'four connections at once, through the NAT', words: '' },
  { name: 'host-to-guest-4', about: 'the same, backwards', words: '--reverse' },
] as const;

function commandOf(words: string, ports: readonly number[], scale: number): string {
  const mib = Math.max(1, Math.round((MIB * scale) / NR_CLIENTS));
  const clients = ports.map(
    (port, i) => `iperf3 -c ${HOST} -p ${port} ${words} -n ${mib}M --json >/tmp/result${i} &`,
  );
  return [
    `echo @begin && { ${clients.join(' ')} wait; }`,
    'echo @end',
    ...ports.map((_, i) => checkSent(`/tmp/result${i}`, mib)),
    `echo @check ${NR_CLIENTS * mib}`,
  ].join(' && ');
}

export async function measureQueues(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const programs = QUEUES_PROGRAMS.filter(({ name }) => options.programs?.includes(name) ?? true);
  const engines = rivals.filter(rival => isUsual(rival) && rival.kind === 'domus');
  if (programs.length === 0 || engines.length === 0) return { measurements: [], problems: [] };
  const prepared = await prepareIperf(folder, options, say);
  if ('why' in prepared) {
    const problem = { suite: QUEUES_SUITE, program: ALL, engine: ALL, why: prepared.why, isFailure: false };
    return { measurements: [], problems: [problem] };
  }
  const { boot, files } = prepared;
  const wirePort = await freePort();
  const network = { files, kernel: options.kernel, isPair: false, wirePort };
  const nameOf = (engine: string, queues: number) => `${engine}, ${queues} queue${queues > 1 ? 's' : ''}`;
  // Guests with one queue and with four take turns, so that both have the same machine.
  const guests = engines.flatMap(engine =>
    QUEUES.map((queues): Rival => {
      const guest = networked(engine, network);
      return {
        ...guest,
        name: nameOf(engine.name, queues),
        commandLine: (files, settings) => {
          const append = `xen_netfront.max_queues=${queues} ${settings.append}`;
          return guest.commandLine(files, { ...settings, append });
        },
      };
    }),
  );
  const servers = await startServers(NR_CLIENTS);
  try {
    const tasks = programs.map(
      ({ name, words }): Task => ({
        suite: QUEUES_SUITE,
        program: name,
        command: commandOf(words, servers.ports, options.scale),
      }),
    );
    const { measurements, problems } = await runTournament(tasks, {
      ...options,
      boot,
      rivals: guests,
      options: { ...options, vcpus: 2 },
      say,
    });
    const samplesOf = (program: string, engine: string, queues: number) =>
      measurements.find(each => each.program === program && each.engine === nameOf(engine, queues))?.samples;
    return {
      problems,
      measurements: programs.flatMap(({ name: program }) =>
        engines.flatMap(({ name: engine }): Measurement[] => {
          const one = samplesOf(program, engine, 1);
          const four = samplesOf(program, engine, 4);
          if (!one || !four) return [];
          const samples = four.map(ms => median(one) / ms);
          return [{ suite: QUEUES_SUITE, program, engine, unit: 'times', better: 'higher', samples }];
        }),
      ),
    };
  } finally {
    servers.stop();
  }
}
