/** A machine with a page of code, for the tests of decoding and of copying what was decoded. */
import { createTestMachine, W } from '../runtime/test-machine.ts';
import type { CodeOrigin } from './decoded-before.ts';
import { recordAt } from './record-table.ts';
import { type CodeServices, RecordWriter } from './records.ts';

export const VA = 0x4000_0000n;
export const PHYSICAL = 0x3000;
export const PAGE = 4096;
export const [NOP, RET] = [0x90, 0xc3];

export type DecodingMachine = ReturnType<typeof decodingMachine>;

/** A machine in 64-bit mode, and what decodes for it. */
export function machineWithDecoder(services: Pick<CodeServices, 'originOf' | 'readPage'>) {
  const machine: ReturnType<typeof createTestMachine> = createTestMachine({
    decode: (cpu, hostPage, codePage, offset) => writer.decode(cpu, hostPage, codePage, offset),
  });
  const { runtime, memory } = machine;
  const writer: RecordWriter = new RecordWriter(memory, {
    codeBehind: (vcpu, page) => runtime.codeBehind(vcpu, page),
    markCode: mfn => runtime.markCode(mfn),
    ...services,
    decoded: () => {},
  });
  machine.enterLongMode();
  return { machine, writer };
}

/** @param contents of pages that are unread */
export function decodingMachine(originOf: CodeServices['originOf'] = () => undefined, contents?: Uint8Array) {
  const readPage = (_page: number, into: Uint8Array): void => into.set(contents as Uint8Array);
  const { machine, writer } = machineWithDecoder({ originOf, readPage });
  const { runtime, memory, cpu, header } = machine;
  machine.map(VA, PHYSICAL, W);
  const host = machine.guest(PHYSICAL);
  memory.u8.fill(RET, host, host + 4096);
  const lookup = (offset: number) => {
    machine.vcpu.rip = VA + BigInt(offset);
    return runtime.lookup(cpu);
  };
  const found = (offset: number) => recordAt(memory.u32, machine.frameOf(PHYSICAL).code, offset);
  return { machine, header, lookup, found, host, breakpointOffsets: writer.breakpointOffsets };
}

export const originIn = ({ machine: { memory }, host }: DecodingMachine): CodeOrigin => ({
  memory,
  frame: host / 4096,
  copies: new Int32Array(memory.sizeBytes / 4096),
});

/** The code cache as far as it is in use. */
export const decoded = ({ machine, header }: DecodingMachine): Uint32Array =>
  machine.memory.u32.slice(header.codeBase / 4, header.codeNext / 4);
