/**
 * The FIFO event layout: per vCPU sixteen queues, one for each priority, linked through 32-bit event words that lie in
 * pages which the guest gave (public/event_channel.h).
 *
 * The hypervisor appends, the guest takes off. Event words, heads and ready bits are the guest's memory: nothing read
 * from there is followed or trusted, only tested, so a guest that scribbles over them loses its own events at worst.
 * The tails are ours. A word is changed by compare-and-swap; a guest that keeps changing it loses the race a bounded
 * number of times.
 */

import { XEN_EINVAL, XEN_ENOSPC, XEN_EOPNOTSUPP } from '../../abi/xen/errno.ts';
import {
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_PENDING,
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  EvtchnFifoControlBlock,
} from '../../abi/xen/event-channel.ts';
import { frameAddress, mfn, PAGE_SIZE } from '../../base/brand.ts';
import type { Domain, Vcpu } from '../hypervisor.ts';
import { dropReference, ramOfGfn, takeReference } from '../p2m.ts';
import { Channel, EVENT_ARRAY_PAGES_MAX, EVENT_WORDS_PER_PAGE } from '../state.ts';
import { type ChannelRecord, channelAt, eventTable } from './table.ts';
import * as twoLevel from './two-level.ts';
import { markEventsPending } from './upcall.ts';

const PENDING = 1 << EVTCHN_FIFO_PENDING;
const MASKED = 1 << EVTCHN_FIFO_MASKED;
const LINKED = 1 << EVTCHN_FIFO_LINKED;
const HEAD = EvtchnFifoControlBlock.offsets.head;
const SWAP_TRIES = 64;

/** Index of a port's event word in `memory.i32`, 0 while the guest has given no page for it. */
function wordIndex(domain: Domain, port: number): number {
  if (port >= domain.state.fifoWords) return 0;
  const page = eventTable(domain).eventArray.get(Math.floor(port / EVENT_WORDS_PER_PAGE));
  return page / 4 + (port % EVENT_WORDS_PER_PAGE);
}

/** Append a link to the word of the current tail; fails when the guest has already taken that event off. */
function setLink(words: Int32Array, index: number, port: number): boolean {
  for (let attempt = 0; attempt < SWAP_TRIES; attempt++) {
    const old = Atomics.load(words, index);
    if ((old & LINKED) === 0) return false;
    const next = (old & ~EVTCHN_FIFO_LINK_MASK) | port;
    if (Atomics.compareExchange(words, index, old, next) === old) return true;
  }
  return false;
}

export function setPending(domain: Domain, vcpu: Vcpu, port: number, channel: ChannelRecord): void {
  const words = domain.hypervisor.memory.i32;
  const word = wordIndex(domain, port);
  if (word === 0) {
    // Told again when the guest gives the page.
    channel.pending = 1;
    return;
  }
  const old = Atomics.or(words, word, PENDING);
  if ((old & (MASKED | LINKED)) !== 0) return;
  enqueue(domain, vcpu, port, channel, word);
}

function enqueue(domain: Domain, vcpu: Vcpu, port: number, channel: ChannelRecord, word: number): void {
  const words = domain.hypervisor.memory.i32;
  const control = vcpu.state.fifoControl;
  if (control === 0) {
    channel.pending = 1;
    return;
  }
  if ((Atomics.or(words, word, LINKED) & LINKED) !== 0) return;
  // If the port was the tail of a queue, the guest has emptied that queue.
  const oldVcpu = domain.vcpus[channel.lastVcpu];
  if (oldVcpu !== undefined && oldVcpu.state.fifoTail.get(channel.lastPriority) === port) {
    oldVcpu.state.fifoTail.set(channel.lastPriority, 0);
  }
  const priority = channel.priority;
  channel.lastVcpu = vcpu.id;
  channel.lastPriority = priority;
  const tail = vcpu.state.fifoTail.get(priority);
  const tailWord = tail === 0 ? 0 : wordIndex(domain, tail);
  const linked = tailWord !== 0 && setLink(words, tailWord, port);
  if (!linked) Atomics.store(words, (control + HEAD) / 4 + priority, port);
  vcpu.state.fifoTail.set(priority, port);
  if (!linked && ((Atomics.or(words, control / 4, 1 << priority) >>> priority) & 1) === 0) {
    markEventsPending(vcpu);
  }
}

export function clearPending(domain: Domain, port: number): void {
  const word = wordIndex(domain, port);
  if (word !== 0) Atomics.and(domain.hypervisor.memory.i32, word, ~PENDING);
}

export function unmask(domain: Domain, vcpu: Vcpu, port: number, channel: ChannelRecord): void {
  const word = wordIndex(domain, port);
  if (word === 0) return;
  const old = Atomics.and(domain.hypervisor.memory.i32, word, ~MASKED);
  if ((old & PENDING) !== 0 && (old & LINKED) === 0) enqueue(domain, vcpu, port, channel, word);
}

export function isPending(domain: Domain, port: number): boolean {
  const word = wordIndex(domain, port);
  if (word === 0) return channelAt(domain, port).pending !== 0;
  return (domain.hypervisor.memory.i32[word]! & PENDING) !== 0;
}

export function isLinked(domain: Domain, port: number): boolean {
  const word = wordIndex(domain, port);
  return word !== 0 && (domain.hypervisor.memory.i32[word]! & LINKED) !== 0;
}

/** EVTCHNOP_init_control: the vCPU's control block; the first one switches the domain to the FIFO layout. */
export function initControl(vcpu: Vcpu, gfn: number, offset: number): number {
  const { domain, state } = vcpu;
  if (offset > PAGE_SIZE - EvtchnFifoControlBlock.size || offset % 8 !== 0) return -XEN_EINVAL;
  if (state.fifoControl !== 0) return -XEN_EINVAL;
  const frame = ramOfGfn(domain, gfn);
  if (frame === 0) return -XEN_EINVAL;
  takeReference(domain.hypervisor, frame);
  state.fifoControlMfn = frame;
  state.fifoControl = frameAddress(mfn(frame)) + offset;
  if (!domain.state.usesFifo) switchToFifo(domain);
  return 0;
}

/** What is pending in the bitmaps is carried over once the event words are there. */
function switchToFifo(domain: Domain): void {
  for (let port = 1; port < domain.state.nrPorts; port++) {
    const channel = channelAt(domain, port);
    if (channel.state === Channel.free) continue;
    channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
    if (twoLevel.isPending(domain, port)) channel.pending = 1;
  }
  domain.state.usesFifo = 1;
}

/** EVTCHNOP_expand_array: one more page of event words. */
export function expandArray(domain: Domain, gfn: number): number {
  const { state, hypervisor } = domain;
  if (!state.usesFifo) return -XEN_EOPNOTSUPP;
  const slot = state.fifoWords / EVENT_WORDS_PER_PAGE;
  if (slot >= EVENT_ARRAY_PAGES_MAX) return -XEN_ENOSPC;
  const frame = ramOfGfn(domain, gfn);
  if (frame === 0) return -XEN_EINVAL;
  takeReference(hypervisor, frame);
  eventTable(domain).eventArray.set(slot, frameAddress(mfn(frame)));
  const first = state.fifoWords;
  state.fifoWords = first + EVENT_WORDS_PER_PAGE;
  for (let port = Math.max(first, 1); port < state.fifoWords && port < state.nrPorts; port++) {
    const channel = channelAt(domain, port);
    const vcpu = domain.vcpus[channel.notifyVcpu];
    if (channel.pending === 0 || channel.state === Channel.free || vcpu === undefined) continue;
    channel.pending = 0;
    setPending(domain, vcpu, port, channel);
  }
  return 0;
}

/** Back to the 2-level layout; the guest's pages are let go (EVTCHNOP_reset, domain destruction). */
export function leaveFifo(domain: Domain): void {
  const { state, hypervisor } = domain;
  const pages = eventTable(domain).eventArray;
  for (let slot = 0; slot < state.fifoWords / EVENT_WORDS_PER_PAGE; slot++) {
    dropReference(hypervisor, pages.get(slot) >>> 12);
    pages.set(slot, 0);
  }
  state.fifoWords = 0;
  state.usesFifo = 0;
  for (const vcpu of domain.vcpus) {
    if (vcpu.state.fifoControlMfn !== 0) dropReference(hypervisor, vcpu.state.fifoControlMfn);
    vcpu.state.fifoControlMfn = 0;
    vcpu.state.fifoControl = 0;
    for (let priority = 0; priority < vcpu.state.fifoTail.length; priority++) {
      vcpu.state.fifoTail.set(priority, 0);
    }
  }
}
