/** Field types that Xen's structures need besides those of base/struct.ts. */
import type { FieldType } from '../../base/struct.ts';

export const i8: FieldType<number> = {
  size: 1,
  align: 1,
  get: (view, address) => view.getInt8(address),
  set: (view, address, value) => view.setInt8(address, value),
};

export const i16: FieldType<number> = {
  size: 2,
  align: 2,
  get: (view, address) => view.getInt16(address, true),
  set: (view, address, value) => view.setInt16(address, value, true),
};
