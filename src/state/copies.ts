/** What records take from the hypervisor's own structures, and give back to them, by names. */
import { fieldCopier } from '../base/copy-fields.ts';
import type { Fields, Struct } from '../base/struct.ts';
import { Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import { LapicState } from '../hypervisor/apic-state.ts';
import { MsrState } from '../hypervisor/msr-state.ts';
import { DomainState, EventChannel, VcpuState } from '../hypervisor/state.ts';
import {
  ChannelRecord,
  DomainStateRecord,
  LapicRecord,
  MsrRecord,
  ProcessorRecord,
  VcpuStateRecord,
} from './layout.ts';

const copies = <R extends Fields, S extends R>(record: Struct<R>, own: Struct<S>) => ({
  /** Into a record. */
  save: fieldCopier(record, record, own),
  /** Out of it. */
  restore: fieldCopier(record, own, record),
});

export const domainState = copies(DomainStateRecord, DomainState);
export const processor = copies(ProcessorRecord, VcpuBlock);
/** They go back a second time. */
export const restoreSegmentBases = fieldCopier(
  { fields: { segBase: ProcessorRecord.fields.segBase } },
  VcpuBlock,
  ProcessorRecord,
);
export const vcpuState = copies(VcpuStateRecord, VcpuState);
export const lapic = copies(LapicRecord, LapicState);
export const msrs = copies(MsrRecord, MsrState);
export const channel = copies(ChannelRecord, EventChannel);
