/**
 * Copies between a guest's memory and the hypervisor. Everything is copied exactly once, page by page, and used from
 * the copy: the guest may change its memory at any moment.
 */
import { PAGE_SIZE } from '../base/brand.ts';
import type { FieldType, Struct } from '../base/struct.ts';
import type { Hypervisor, Vcpu } from './hypervisor.ts';
import { holdsCode } from './p2m.ts';

type Fields = Record<string, FieldType<unknown>>;

/** Copy `length` bytes from guest virtual address `gva`; undefined when part of it is not mapped. */
export function copyFromGuest(vcpu: Vcpu, gva: bigint, length: number): DataView | undefined {
  const { engine, memory } = vcpu.domain.hypervisor;
  const copy = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const at = BigInt.asUintN(64, gva + BigInt(done));
    const part = Math.min(length - done, PAGE_SIZE - Number(at & 0xfffn));
    const address = engine.translate(vcpu.state.block, at, false);
    if (address === 0) return undefined;
    copy.set(memory.u8.subarray(address, address + part), done);
    done += part;
  }
  return new DataView(copy.buffer);
}

/** Copy to guest virtual address `gva`. False when part of it is not mapped writable; pages before it are written. */
export function copyToGuest(vcpu: Vcpu, gva: bigint, source: Uint8Array): boolean {
  const { hypervisor } = vcpu.domain;
  let done = 0;
  while (done < source.length) {
    const at = BigInt.asUintN(64, gva + BigInt(done));
    const part = Math.min(source.length - done, PAGE_SIZE - Number(at & 0xfffn));
    const address = hypervisor.engine.translate(vcpu.state.block, at, true);
    if (address === 0) return false;
    hypervisor.memory.u8.set(source.subarray(done, done + part), address);
    wroteTo(hypervisor, address, part);
    done += part;
  }
  return true;
}

/** To be called after every write to memory that a guest could execute. */
export function wroteTo(hypervisor: Hypervisor, address: number, sizeBytes: number): void {
  if (holdsCode(hypervisor, address >>> 12)) hypervisor.engine.codeWritten?.(address, sizeBytes);
}

/** A structure copied in; `value` reads and writes the copy, `bytes` is what goes back. */
export interface GuestCopy<F extends Fields> {
  readonly value: ReturnType<Struct<F>['at']>;
  readonly bytes: Uint8Array;
}

export function copyIn<F extends Fields>(
  vcpu: Vcpu,
  layout: Struct<F>,
  gva: bigint,
): GuestCopy<F> | undefined {
  const view = copyFromGuest(vcpu, gva, layout.size);
  if (view === undefined) return undefined;
  return { value: layout.at(view, 0), bytes: new Uint8Array(view.buffer) };
}

export const copyOut = <F extends Fields>(vcpu: Vcpu, gva: bigint, copy: GuestCopy<F>): boolean =>
  copyToGuest(vcpu, gva, copy.bytes);

/** An empty structure to be filled and sent with copyOut. */
export function blank<F extends Fields>(layout: Struct<F>): GuestCopy<F> {
  const bytes = new Uint8Array(layout.size);
  return { value: layout.at(new DataView(bytes.buffer), 0), bytes };
}

/** Is the range readable (or writable), page by page? At most `length` of 1 MiB is looked at. */
export function guestRangeOkay(vcpu: Vcpu, gva: bigint, length: number, write: boolean): boolean {
  const { engine } = vcpu.domain.hypervisor;
  const end = gva + BigInt(length);
  for (let at = gva; at < end; at = (at & ~0xfffn) + 0x1000n) {
    if (engine.translate(vcpu.state.block, BigInt.asUintN(64, at), write) === 0) return false;
  }
  return true;
}
