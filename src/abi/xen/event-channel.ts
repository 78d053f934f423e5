/** Event channels (public/event_channel.h): operations, the 2-level and the FIFO layouts. */
import { array, bytes, struct, u8, u16, u32, u64 } from '../../base/struct.ts';

/** EVTCHNOP_* */
export const Evtchnop = {
  bind_interdomain: 0,
  bind_virq: 1,
  bind_pirq: 2,
  close: 3,
  send: 4,
  status: 5,
  alloc_unbound: 6,
  bind_ipi: 7,
  bind_vcpu: 8,
  unmask: 9,
  reset: 10,
  init_control: 11,
  expand_array: 12,
  set_priority: 13,
} as const;

export const EvtchnAllocUnbound = struct('evtchn_alloc_unbound', { dom: u16, remote_dom: u16, port: u32 });
export const EvtchnBindInterdomain = struct('evtchn_bind_interdomain', {
  remote_dom: u16,
  remote_port: u32,
  local_port: u32,
});
export const EvtchnBindVirq = struct('evtchn_bind_virq', { virq: u32, vcpu: u32, port: u32 });
export const EvtchnBindPirq = struct('evtchn_bind_pirq', { pirq: u32, flags: u32, port: u32 });
export const EvtchnBindIpi = struct('evtchn_bind_ipi', { vcpu: u32, port: u32 });
export const EvtchnClose = struct('evtchn_close', { port: u32 });
export const EvtchnSend = struct('evtchn_send', { port: u32 });

export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

/** The union `u` as its interdomain member; `dom` is also unbound's, the first 32 bits are pirq and virq. */
export const EvtchnStatusInterdomain = struct('evtchn_status_interdomain', { dom: u16, port: u32 });
export const EvtchnStatus = struct('evtchn_status', {
  dom: u16,
  port: u32,
  status: u32,
  vcpu: u32,
  u: EvtchnStatusInterdomain,
});
export const EvtchnBindVcpu = struct('evtchn_bind_vcpu', { port: u32, vcpu: u32 });
export const EvtchnUnmask = struct('evtchn_unmask', { port: u32 });
export const EvtchnReset = struct('evtchn_reset', { dom: u16 });
export const EvtchnInitControl = struct('evtchn_init_control', {
  control_gfn: u64,
  offset: u32,
  vcpu: u32,
  link_bits: u8,
  _pad: bytes(7),
});
export const EvtchnExpandArray = struct('evtchn_expand_array', { array_gfn: u64 });
export const EvtchnSetPriority = struct('evtchn_set_priority', { port: u32, priority: u32 });

/** Channels that the 2-level layout of the shared info page has room for (64-bit guests). */
export const EVTCHN_2L_NR_CHANNELS = 4096;

export const EVTCHN_FIFO_PRIORITY_MAX = 0;
export const EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
export const EVTCHN_FIFO_PRIORITY_MIN = 15;
export const EVTCHN_FIFO_MAX_QUEUES = EVTCHN_FIFO_PRIORITY_MIN + 1;
/** Bit numbers in an event word. */
export const EVTCHN_FIFO_PENDING = 31;
export const EVTCHN_FIFO_MASKED = 30;
export const EVTCHN_FIFO_LINKED = 29;
export const EVTCHN_FIFO_BUSY = 28;
export const EVTCHN_FIFO_LINK_BITS = 17;
export const EVTCHN_FIFO_LINK_MASK = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
export const EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS;

export const EvtchnFifoControlBlock = struct('evtchn_fifo_control_block', {
  ready: u32,
  _rsvd: u32,
  head: array(u32, EVTCHN_FIFO_MAX_QUEUES),
});
