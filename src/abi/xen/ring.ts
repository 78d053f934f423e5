/** Shared rings of split devices (public/io/ring.h): a page with four indices, then slots for requests and responses. */
import { bytes, type FieldType, type Struct, struct, u32 } from '../../base/struct.ts';

/** The page of a ring whose slots hold `entry`, the larger of request and response. Only the first slot is described. */
export const sring = <E>(name: string, entry: FieldType<E>) =>
  struct(`${name}_sring`, {
    req_prod: u32,
    req_event: u32,
    rsp_prod: u32,
    rsp_event: u32,
    pvt: bytes(4),
    __pad: bytes(44),
    ring: entry,
  });

/** Slots in a ring page: the largest power of two that fits. */
export function ringSlots(
  page: Pick<Struct<{ ring: FieldType<unknown> }>, 'offsets' | 'fields'>,
  pageBytes = 4096,
): number {
  const most = Math.floor((pageBytes - page.offsets.ring) / page.fields.ring.size);
  return 2 ** Math.floor(Math.log2(most));
}
