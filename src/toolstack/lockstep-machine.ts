/**
 * The engine `lockstep`: one guest on two machines, the first translates, the second interprets. After every slice the
 * second does the same and all processors must be equal; at the end so must memory. At the first difference the
 * machine fails with E_LOCKSTEP.
 *
 * Both machines are deterministic and begin alike. The first one leads: its time, its turns and its output are
 * the guest's; input goes to both between the same two slices; what the second one writes is thrown away.
 */
import { DomusError } from '../base/errors.ts';
import { disassemble } from '../cpu/debug/disassembler.ts';
import type { CpuEngine } from '../cpu/engine.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import { pauseDomain, unpauseDomain } from '../hypervisor/life.ts';
import { MachineFailure } from './crash-report.ts';
import type { ConsoleStream, GuestMachine, MachineConfig, Shutdown, VcpuStatus } from './machine.ts';
import { XenMachine } from './xen-machine.ts';

const V = Vcpu.offsets;
/** What the guest knows of a processor, apart from its flags, which engines keep in ways of their own. */
const COMPARED = [
  [V.gpr, V.zero],
  [V.rip, V.flagRes],
  [V.flagSys, V.miscEnable + 8],
  [V.retired, V.retired + 8],
  [V.fcw, V.scratch],
] as const;
const CODE_BYTES = 16;
const SHOWN_INSTRUCTIONS = 5;

/** @throws DomusError E_LOCKSTEP when the configuration has what cannot be done twice */
export async function createLockstepMachine(config: MachineConfig): Promise<GuestMachine> {
  const { twin, gdbPort, trace, ...common } = config;
  if (!twin || !config.platform.isDeterministic) {
    throw new DomusError(
      'E_LOCKSTEP',
      'two machines stay in lockstep only where time and chance are simulated',
      'add --deterministic, or use --engine translator',
    );
  }
  const once = [
    [config.vcpus > 1 && config.pcpus > 1, 'vCPUs at the same time'],
    [(config.networks ?? []).length > 0, 'a network'],
    [(config.disks ?? []).length > 0, 'disks'],
    [gdbPort !== undefined, 'a debugger'],
  ] as const;
  const refused = once.find(([isGiven]) => isGiven);
  if (refused) {
    throw new DomusError(
      'E_LOCKSTEP',
      `two machines in lockstep cannot have ${refused[1]}`,
      'leave it out, or use --engine translator',
    );
  }
  const leader = new XenMachine({ ...common, engine: 'translator', ...(trace && { trace }) });
  const second = new XenMachine({ ...common, engine: 'interpreter', platform: twin.platform });
  const keepTime = () => twin.advanceTo(config.platform.clock.monotonicNs());
  return lockstep(leader, second, keepTime);
}

/** @param keepTime brings the second machine's clock to where the first one's is */
function lockstep(leader: XenMachine, second: XenMachine, keepTime: () => void): GuestMachine {
  let nrSlices = 0;
  leader.companion = {
    ranSlice() {
      second.runSlice();
      nrSlices += 1;
      const differing = leader.domain.vcpus.findIndex((_, id) => !isSame(leader, second, id));
      if (differing >= 0) throw difference(leader, second, differing, nrSlices);
    },
    waited: keepTime,
  };
  let onFailure: (error: unknown) => void = () => {};
  /** Memory at the end. */
  const isSameAtEnd = (): boolean => {
    second.settle();
    return leader.stateHash() === second.stateHash();
  };
  return {
    consoles: leader.consoles.map((stream, i) =>
      doubled(stream, second.consoles[i] as ConsoleStream, keepTime),
    ),
    disks: [],
    sharing: undefined,
    get touchedBytes() {
      return leader.touchedBytes + second.touchedBytes;
    },
    start() {
      unpauseDomain(second.domain);
      leader.start();
    },
    async pause() {
      await leader.pause();
      pauseDomain(second.domain);
    },
    resume() {
      unpauseDomain(second.domain);
      leader.resume();
    },
    onShutdown(listener: (shutdown: Shutdown) => void) {
      leader.onShutdown(shutdown => {
        if (second.ended?.reason === shutdown.reason && isSameAtEnd()) listener(shutdown);
        else onFailure(difference(leader, second, 0, nrSlices));
      });
    },
    onFailure(listener) {
      onFailure = listener;
      leader.onFailure(listener);
    },
    instructions: () => leader.instructions(),
    status: () => leader.status(),
    stateHash: () => leader.stateHash(),
    control: {
      status: () => leader.control.status(),
      balloon: () => leader.control.balloon(),
      node: path => leader.control.node(path),
      memoryMap: nrCells => leader.control.memoryMap(nrCells),
      requestShutdown: unchangeable,
      sysrq: unchangeable,
      setName: unchangeable,
      setMemoryTarget: unchangeable,
      setMemoryMax: unchangeable,
      setVcpusOnline: unchangeable,
      setAffinity: unchangeable,
    },
    hold: cannotSave,
    fork: cannotSave,
    heldMs: 0,
    attachDisk() {
      throw new DomusError('E_LOCKSTEP', 'two machines in lockstep cannot have disks', 'leave them out');
    },
    async destroy() {
      await leader.destroy();
      await second.destroy();
    },
  };
}

/** What comes from outside would have to come to both in the same instruction. */
function unchangeable(): never {
  throw new DomusError(
    'E_LOCKSTEP',
    'two machines in lockstep cannot be changed while they run',
    'use another engine',
  );
}

const cannotSave = () =>
  Promise.reject(
    new DomusError('E_SAVE_UNSUPPORTED', 'two machines in lockstep cannot be saved', 'use another engine'),
  );

/**
 * Input to both streams, output of the first; both are held back by what the listener promises.
 *
 * Input may come while the first machine waits, when it is later there than at the second one: a vCPU that it wakes was blocked
 * for as long in both. And it may answer a guest that has made room, in the middle of a slice: then the second machine gets it when its
 * guest does that. For this both streams are offered the same, also what they have no room for.
 */
function doubled(stream: ConsoleStream, second: ConsoleStream, keepTime: () => void): ConsoleStream {
  const held: (void | Promise<void>)[] = [];
  second.onData(() => held.shift());
  const answers: (() => void)[][] = [];
  let answer: (() => void)[] | undefined;
  const listeners: (() => void)[] = [];
  stream.onWritable(() => {
    answer = [];
    answers.push(answer);
    try {
      for (const listener of listeners) listener();
    } finally {
      answer = undefined;
    }
  });
  second.onWritable(() => {
    for (const input of answers.shift() ?? []) input();
  });
  const alsoToSecond = (input: () => void): void => {
    if (answer) answer.push(input);
    else {
      keepTime();
      input();
    }
  };
  return {
    onData: listener =>
      stream.onData(chunk => {
        const promise = listener(chunk);
        held.push(promise);
        return promise;
      }),
    write(chunk) {
      const same = chunk.slice();
      alsoToSecond(() => second.write(same));
      return stream.write(chunk);
    },
    onWritable: listener => void listeners.push(listener),
    close() {
      alsoToSecond(() => second.close());
      stream.close();
    },
  };
}

function isSame(leader: XenMachine, second: XenMachine, id: number): boolean {
  const [a, b] = [leader, second].map(({ engine, domain }) => ({
    engine,
    block: domain.vcpus[id]?.state.block ?? 0,
  })) as [{ engine: CpuEngine; block: number }, { engine: CpuEngine; block: number }];
  const [x, y] = [a.engine.memory.u32, b.engine.memory.u32];
  for (const [from, to] of COMPARED) {
    for (let at = from; at < to; at += 4) {
      if (x[(a.block + at) >>> 2] !== y[(b.block + at) >>> 2]) return false;
    }
  }
  return a.engine.runtime.getFlags(a.block) === b.engine.runtime.getFlags(b.block);
}

function difference(leader: XenMachine, second: XenMachine, id: number, slice: number): MachineFailure {
  const [a, b] = [leader, second].map(machine => machine.status().vcpus[id] as VcpuStatus) as [
    VcpuStatus,
    VcpuStatus,
  ];
  const hex = (value: bigint | undefined) => (value ?? 0n).toString(16).padStart(16, '0');
  const lines = a.registers.map(([name, value], i) => {
    const other = b.registers[i]?.[1];
    return `${value === other ? ' ' : '*'} ${name.padEnd(7)} ${hex(value)}  ${hex(other)}`;
  });
  lines.push(...vectorLines(leader, second, id));
  const code = (name: string, machine: XenMachine) => [
    '',
    `${name}:`,
    ...instructionsAt(machine, id).map(line => `  ${line}`),
  ];
  return new MachineFailure(
    'E_LOCKSTEP',
    `translator and interpreter differ after slice ${slice}, vCPU ${id}`,
    'this is a defect of Domus: report it with the command line; --engine interpreter runs without the translator',
    [
      '          translator        interpreter',
      ...lines,
      ...code('translator', leader),
      ...code('interpreter', second),
    ],
  );
}

/** Vector registers that differ, and whether others do that have no line of their own. */
function vectorLines(leader: XenMachine, second: XenMachine, id: number): string[] {
  const bytes = ({ engine, domain }: XenMachine, from: number, sizeBytes: number) => {
    const block = domain.vcpus[id]?.state.block ?? 0;
    const part = engine.memory.u8.slice(block + from, block + from + sizeBytes).reverse();
    return Array.from(part, byte => byte.toString(16).padStart(2, '0')).join('');
  };
  const lines: string[] = [];
  for (let number = 0; number < 16; number++) {
    const [a, b] = [leader, second].map(machine => bytes(machine, V.ymm + number * 32, 32));
    if (a !== b) lines.push(`* ymm${number}`, `    ${a}`, `    ${b}`);
  }
  const [x, y] = [leader, second].map(machine => bytes(machine, V.fcw, V.ymm - V.fcw));
  if (x !== y) lines.push('* x87 registers or MXCSR');
  const [m, n] = [leader, second].map(({ domain }) => domain.vcpus[id]?.block.retired ?? 0n);
  lines.push(`${m === n ? ' ' : '*'} executed ${m}  ${n}`);
  return lines;
}

/** What each machine would do next. */
function instructionsAt({ engine, domain }: XenMachine, id: number): string[] {
  const block = domain.vcpus[id]?.state.block ?? 0;
  const { view, u8 } = engine.memory;
  const mode = view.getUint32(block + V.mode, true);
  let rip = view.getBigUint64(block + V.rip, true);
  return Array.from({ length: SHOWN_INSTRUCTIONS }, () => {
    const bytes = new Uint8Array(CODE_BYTES);
    for (let i = 0; i < CODE_BYTES; i++) {
      const address = engine.runtime.translate(block, rip + BigInt(i), 0, 1) >>> 0;
      if (address === 0) break;
      bytes[i] = u8[address] as number;
    }
    const { text, length } = disassemble(bytes, 0, rip, mode);
    const line = `${rip.toString(16)} ${text}`;
    rip += BigInt(length);
    return line;
  });
}
