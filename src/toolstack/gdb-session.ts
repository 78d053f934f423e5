/**
 * One gdb attached to a machine: the commands of the remote serial protocol (gdb manual, "Remote Protocol").
 *
 * Threads are vCPUs, numbered from 1. All stop together. While one vCPU steps, the others stand still. Breakpoints
 * live in the engine, by linear address, and guest memory never has a breakpoint's bytes in it.
 */
import { readGuest, writeGuest } from '../cpu/debug/memory.ts';
import { REGISTERS, type Register, readRegister, targetDescription } from '../cpu/debug/registers.ts';
import { runMonitorCommand } from './gdb-monitor.ts';
import {
  createPacketReader,
  framePacket,
  fromHex,
  hexByte,
  PACKET_LIMIT_BYTES,
  textToHex,
  toHex,
  unescapeBinary,
} from './gdb-packet.ts';
import type { DebugStop, DebugTarget, DebugVcpu } from './gdb-target.ts';
import { cachedKernelSymbols } from './trace-status.ts';

/** Where packets go; a TCP connection is one. */
export interface GdbConnection {
  write(bytes: Uint8Array): void;
  close(): void;
}

export interface GdbSession {
  /** Bytes from gdb. */
  receive(chunk: Uint8Array): void;
  /** The machine has stopped by itself. */
  stopped(stop: DebugStop): void;
  /** gdb has gone without a word: as if it had detached. */
  disconnected(): Promise<void>;
}

const OK = 'OK';
/** Errors are `E` and two digits; gdb shows the number only. The numbers are Linux's errno. */
const EFAULT = 'E0e';
const EINVAL = 'E16';
const ENOENT = 'E02';
const SIGINT = 2;
const SIGTRAP = 5;

export function createGdbSession(target: DebugTarget, connection: GdbConnection): GdbSession {
  const { engine } = target;
  const symbols = cachedKernelSymbols(engine, target.vcpus);
  let isRunning = false;
  let isOver = false;
  let needsAck = true;
  let reportsBreakpointKind = false;
  let lastFrame: Uint8Array | undefined;
  let lastStop = '';
  /** vCPU that registers, memory and steps are about. */
  let current = target.vcpus[0] as DebugVcpu;
  let forStep: DebugVcpu | undefined;
  const breakpoints = { '0': new Set<bigint>(), '1': new Set<bigint>() };

  const send = (data: string): void => {
    lastFrame = framePacket(data);
    connection.write(lastFrame);
  };
  const threadId = (vcpu: DebugVcpu): string => (vcpu.id + 1).toString(16);
  const threadOf = (text: string): DebugVcpu | undefined => {
    const number = Number.parseInt(text, 16);
    // 0 is any thread, -1 all of them.
    if (number === 0 || text === '-1') return current;
    return target.vcpus.find(vcpu => vcpu.id + 1 === number);
  };

  function stopReply(signal: number, reason = ''): string {
    lastStop = `T${hexByte(signal)}thread:${threadId(current)};${reason}`;
    return lastStop;
  }
  function report(stop: DebugStop): void {
    isRunning = false;
    if (stop.kind === 'shutdown') {
      lastStop = stop.isCrash ? 'X06' : 'W00';
      isOver = true;
      send(lastStop);
      return;
    }
    current = target.vcpus.find(vcpu => vcpu.id === stop.vcpu) ?? current;
    const hardware = breakpoints['1'].has(readRegister(engine, current.block, 'rip'));
    const kind = hardware ? 'hwbreak:;' : 'swbreak:;';
    send(stopReply(SIGTRAP, reportsBreakpointKind ? kind : ''));
  }
  const goOn = (): undefined => {
    isRunning = true;
    target.resume();
    return undefined;
  };
  async function stepOne(vcpu: DebugVcpu): Promise<string> {
    current = vcpu;
    await target.step(vcpu.id);
    return isOver ? lastStop : stopReply(SIGTRAP);
  }
  const updateBreakpoints = (): void =>
    engine.setBreakpoints([...breakpoints['0'], ...breakpoints['1']].map(a => BigInt.asUintN(64, a)));
  async function release(): Promise<void> {
    breakpoints['0'].clear();
    breakpoints['1'].clear();
    if (isOver) return;
    await target.stop();
    updateBreakpoints();
    isRunning = true;
    target.resume();
  }

  /** vCont: the first action that names a thread wins for it; a step anywhere means that one vCPU steps. */
  function resumeActions(text: string): string | undefined | Promise<string> {
    const actions = text.split(';').map(action => action.split(':'));
    const step = actions.find(([what]) => what?.[0] === 's' || what?.[0] === 'S');
    if (step) {
      const vcpu = step[1] === undefined ? current : threadOf(step[1]);
      return vcpu ? stepOne(vcpu) : EINVAL;
    }
    return actions.some(([what]) => what?.[0] === 'c' || what?.[0] === 'C') ? goOn() : EINVAL;
  }

  function query(data: string): string {
    if (data.startsWith('qSupported')) {
      reportsBreakpointKind = data.includes('swbreak+');
      return `PacketSize=${PACKET_LIMIT_BYTES.toString(16)};QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+`;
    }
    if (data.startsWith('qXfer:features:read:')) return readDescription(data.slice(20));
    if (data === 'qfThreadInfo') return `m${target.vcpus.map(threadId).join(',')}`;
    if (data === 'qsThreadInfo') return 'l';
    if (data.startsWith('qThreadExtraInfo,')) {
      const vcpu = threadOf(data.slice(17));
      return vcpu ? textToHex(`vCPU ${vcpu.id}${vcpu.isOnline() ? '' : ' (offline)'}`) : EINVAL;
    }
    if (data === 'qC') return `QC${threadId(current)}`;
    if (data.startsWith('qAttached')) return '1';
    if (data === 'qOffsets') return 'Text=0;Data=0;Bss=0';
    if (data.startsWith('qSymbol')) return OK;
    if (data.startsWith('qRcmd,')) {
      const command = fromHex(data.slice(6));
      if (!command) return EINVAL;
      return textToHex(runMonitorCommand(target, current, symbols, new TextDecoder().decode(command))) || OK;
    }
    return '';
  }

  function memoryCommand(data: string): string {
    const [, kind, addressText, sizeText, , contents] =
      /^([mMX])([0-9a-f]+),([0-9a-f]+)(:([\s\S]*))?$/i.exec(data) ?? [];
    if (kind === undefined) return EINVAL;
    const address = BigInt(`0x${addressText}`);
    const sizeBytes = Number.parseInt(sizeText as string, 16);
    if (sizeBytes > PACKET_LIMIT_BYTES) return EINVAL;
    if (kind === 'm') {
      const bytes = readGuest(engine, current.block, address, sizeBytes);
      return bytes.length === 0 && sizeBytes > 0 ? EFAULT : toHex(bytes);
    }
    const bytes = kind === 'X' ? unescapeBinary(contents ?? '') : fromHex(contents ?? '');
    if (bytes?.length !== sizeBytes) return EINVAL;
    return writeGuest(engine, current.block, address, bytes) ? OK : EFAULT;
  }

  function breakpointCommand(data: string): string {
    const [, action, type, address] = /^([Zz])([01]),([0-9a-f]+),/i.exec(data) ?? [];
    // Watchpoints (types 2 to 4) are not offered: an empty answer tells gdb so.
    if (action === undefined) return '';
    const set = breakpoints[type as '0' | '1'];
    if (action === 'Z') set.add(BigInt(`0x${address}`));
    else set.delete(BigInt(`0x${address}`));
    updateBreakpoints();
    return OK;
  }

  function answer(data: string): string | undefined | Promise<string | undefined> {
    switch (data[0]) {
      case '?':
        return lastStop || stopReply(SIGTRAP);
      case 'g':
        return REGISTERS.map(register => registerText(register, register.read(engine, current.block))).join(
          '',
        );
      case 'G':
        return writeAll(data.slice(1));
      case 'p':
        return readOne(data.slice(1));
      case 'P':
        return writeOne(data.slice(1));
      case 'm':
      case 'M':
      case 'X':
        return memoryCommand(data);
      case 'Z':
      case 'z':
        return breakpointCommand(data);
      case 'H':
        return select(data);
      case 'T':
        return threadOf(data.slice(1)) ? OK : EINVAL;
      case 'c':
      case 's': {
        if (data.length > 1) return EINVAL;
        return data === 'c' ? goOn() : stepOne(forStep ?? current);
      }
      case 'v':
        if (data === 'vCont?') return 'vCont;c;C;s;S';
        if (data.startsWith('vCont;')) return resumeActions(data.slice(6));
        if (data.startsWith('vKill')) {
          isOver = true;
          target.kill();
          return OK;
        }
        return '';
      case 'k':
        isOver = true;
        target.kill();
        connection.close();
        return undefined;
      case 'D':
        return release().then(() => {
          isOver = true;
          return OK;
        });
      case 'Q':
        if (data !== 'QStartNoAckMode') return '';
        return OK;
      case 'q':
        return query(data);
      default:
        return '';
    }
  }

  function select(data: string): string {
    const vcpu = threadOf(data.slice(2));
    if (!vcpu) return EINVAL;
    if (data[1] === 'g') current = vcpu;
    else if (data[1] === 'c') forStep = vcpu;
    return OK;
  }
  function readOne(text: string): string {
    const register = REGISTERS[Number.parseInt(text, 16)];
    return register ? registerText(register, register.read(engine, current.block)) : EINVAL;
  }
  function writeOne(text: string): string {
    const [number, value] = text.split('=');
    const register = REGISTERS[Number.parseInt(number as string, 16)];
    const bytes = fromHex(value ?? '');
    if (!register?.write || bytes?.length !== register.bits / 8) return EINVAL;
    register.write(engine, current.block, littleEndian(bytes));
    return OK;
  }
  /** All registers at once; those that can only be read keep their values. */
  function writeAll(text: string): string {
    let at = 0;
    for (const register of REGISTERS) {
      const digits = register.bits / 4;
      const bytes = fromHex(text.slice(at, at + digits));
      if (bytes?.length !== register.bits / 8) return EINVAL;
      const value = littleEndian(bytes);
      if (value !== register.read(engine, current.block)) register.write?.(engine, current.block, value);
      at += digits;
    }
    return OK;
  }

  /** Packets are answered in order: a step takes its time. */
  let queue: Promise<void> = Promise.resolve();
  const reader = createPacketReader(event => {
    if (event.kind === 'damaged') {
      if (needsAck) connection.write(Uint8Array.of(0x2d));
      return;
    }
    if (event.kind === 'resend') {
      if (needsAck && lastFrame) connection.write(lastFrame);
      return;
    }
    if (event.kind === 'packet' && needsAck) connection.write(Uint8Array.of(0x2b));
    queue = queue.then(async () => {
      if (event.kind === 'interrupt') {
        if (!isRunning) return;
        await target.stop();
        // A breakpoint may have been quicker.
        if (!isRunning) return;
        isRunning = false;
        send(stopReply(SIGINT));
        return;
      }
      if (isOver && !/^[kqD]/.test(event.data)) return send(ENOENT);
      const reply = await answer(event.data);
      if (reply !== undefined) send(reply);
      if (event.data === 'QStartNoAckMode') needsAck = false;
    });
  });

  return {
    receive: reader,
    stopped(stop) {
      if (isRunning) report(stop);
      else if (stop.kind === 'shutdown') {
        lastStop = stop.isCrash ? 'X06' : 'W00';
        isOver = true;
      }
    },
    disconnected: () => (isOver ? Promise.resolve() : release()),
  };
}

function readDescription(text: string): string {
  const [annex, range] = [text.slice(0, text.indexOf(':')), text.slice(text.indexOf(':') + 1)];
  if (annex !== 'target.xml') return ENOENT;
  const [offset, length] = range.split(',').map(part => Number.parseInt(part, 16)) as [number, number];
  if (!(offset >= 0) || !(length > 0)) return EINVAL;
  const xml = targetDescription();
  const part = xml.slice(offset, offset + Math.min(length, PACKET_LIMIT_BYTES / 2));
  return `${offset + part.length < xml.length ? 'm' : 'l'}${part}`;
}

const littleEndian = (bytes: Uint8Array): bigint => {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
  return value;
};
function registerText(register: Register, value: bigint): string {
  let text = '';
  for (let i = 0; i < register.bits / 8; i++) text += hexByte(Number((value >> BigInt(8 * i)) & 0xffn));
  return text;
}
