/** The 2-level event layout: pending and mask bitmaps in the shared info page, a selector word per vCPU. */
import { EVTCHN_2L_NR_CHANNELS } from '../../abi/xen/event-channel.ts';
import { SharedInfo, VcpuInfo } from '../../abi/xen/xen.ts';
import type { Domain, Vcpu } from '../hypervisor.ts';
import { markEventsPending } from './upcall.ts';

const PENDING = SharedInfo.offsets.evtchn_pending;
const MASK = SharedInfo.offsets.evtchn_mask;
const SELECTOR = VcpuInfo.offsets.evtchn_pending_sel;

function testAndSet(domain: Domain, base: number, bit: number): boolean {
  const { i32 } = domain.hypervisor.memory;
  const old = Atomics.or(i32, base / 4 + (bit >>> 5), 1 << (bit & 31));
  return ((old >>> (bit & 31)) & 1) !== 0;
}

function testAndClear(domain: Domain, base: number, bit: number): boolean {
  const { i32 } = domain.hypervisor.memory;
  const old = Atomics.and(i32, base / 4 + (bit >>> 5), ~(1 << (bit & 31)));
  return ((old >>> (bit & 31)) & 1) !== 0;
}

function test(domain: Domain, base: number, bit: number): boolean {
  const { u32 } = domain.hypervisor.memory;
  return ((u32[base / 4 + (bit >>> 5)]! >>> (bit & 31)) & 1) !== 0;
}

/** The selector lies 8 bytes into vcpu_info, wherever that is (it need not be aligned to anything). */
function selectPort(vcpu: Vcpu, port: number): boolean {
  const { u8 } = vcpu.domain.hypervisor.memory;
  const bit = port >>> 6;
  const old = Atomics.or(u8, vcpu.state.vcpuInfo + SELECTOR + (bit >>> 3), 1 << (bit & 7));
  return ((old >>> (bit & 7)) & 1) !== 0;
}

export function setPending(domain: Domain, vcpu: Vcpu, port: number): void {
  if (port >= EVTCHN_2L_NR_CHANNELS) return;
  const shared = domain.state.sharedInfo;
  if (testAndSet(domain, shared + PENDING, port)) return;
  if (!test(domain, shared + MASK, port) && !selectPort(vcpu, port)) markEventsPending(vcpu);
}

export function clearPending(domain: Domain, port: number): void {
  if (port < EVTCHN_2L_NR_CHANNELS) testAndClear(domain, domain.state.sharedInfo + PENDING, port);
}

export function unmask(domain: Domain, vcpu: Vcpu, port: number): void {
  if (port >= EVTCHN_2L_NR_CHANNELS) return;
  const shared = domain.state.sharedInfo;
  if (!testAndClear(domain, shared + MASK, port) || !test(domain, shared + PENDING, port)) return;
  if (!selectPort(vcpu, port)) markEventsPending(vcpu);
}

export const isPending = (domain: Domain, port: number): boolean =>
  port < EVTCHN_2L_NR_CHANNELS && test(domain, domain.state.sharedInfo + PENDING, port);
