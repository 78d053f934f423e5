/**
 * Structure descriptions: a data layout is written down once, as a list of fields, and everything else follows from
 * it: offsets and size (with C's natural alignment), typed accessors over a DataView, constants for the WebAssembly
 * side, and the comparison with the real headers in the tests.
 *
 *     const Entry = struct('grant_entry_v1', { flags: u16, domid: u16, frame: u32 });
 *     Entry.size                      // 8
 *     Entry.offsets.frame             // 4
 *     Entry.at(view, address).frame   // reads through the DataView
 */

/** How one field lies in memory and how it is read and written. `T` is its JavaScript type. */
export interface FieldType<T> {
  readonly size: number;
  readonly align: number;
  /** An accessor for scalars is get and set; for aggregates `get` returns a live view and `set` is absent. */
  get(view: DataView, address: number): T;
  set?(view: DataView, address: number, value: T): void;
  /** Of an array: what it is made of, and how many there are. */
  readonly element?: FieldType<unknown>;
  readonly length?: number;
  /** Of a structure. */
  readonly fields?: Readonly<Record<string, FieldType<unknown>>>;
  readonly offsets?: Readonly<Record<string, number>>;
}

const scalar = <T>(
  size: number,
  get: (view: DataView, address: number) => T,
  set: (view: DataView, address: number, value: T) => void,
): FieldType<T> => ({ size, align: size, get, set });

export const u8 = scalar<number>(
  1,
  (v, a) => v.getUint8(a),
  (v, a, x) => v.setUint8(a, x),
);
export const u16 = scalar<number>(
  2,
  (v, a) => v.getUint16(a, true),
  (v, a, x) => v.setUint16(a, x, true),
);
export const u32 = scalar<number>(
  4,
  (v, a) => v.getUint32(a, true),
  (v, a, x) => v.setUint32(a, x, true),
);
export const i32 = scalar<number>(
  4,
  (v, a) => v.getInt32(a, true),
  (v, a, x) => v.setInt32(a, x, true),
);
export const u64 = scalar<bigint>(
  8,
  (v, a) => v.getBigUint64(a, true),
  (v, a, x) => v.setBigUint64(a, BigInt.asUintN(64, x), true),
);
export const i64 = scalar<bigint>(
  8,
  (v, a) => v.getBigInt64(a, true),
  (v, a, x) => v.setBigInt64(a, x, true),
);
/** A 64-bit field whose values stay below 2^53: read and written as a plain number. */
export const u64n = scalar<number>(
  8,
  (v, a) => v.getUint32(a, true) + v.getUint32(a + 4, true) * 2 ** 32,
  (v, a, x) => {
    v.setUint32(a, x >>> 0, true);
    v.setUint32(a + 4, Math.floor(x / 2 ** 32), true);
  },
);

/** Live view of an array field. */
export interface ArrayView<T> {
  readonly length: number;
  readonly address: number;
  get(index: number): T;
  set(index: number, value: T): void;
}

export function array<T>(element: FieldType<T>, length: number): FieldType<ArrayView<T>> {
  return {
    size: element.size * length,
    align: element.align,
    element: element as FieldType<unknown>,
    length,
    get: (view, address) => ({
      length,
      address,
      get: index => element.get(view, address + index * element.size),
      set: (index, value) => {
        if (!element.set) throw new TypeError('elements of this array are aggregates: set their fields');
        element.set(view, address + index * element.size, value);
      },
    }),
  };
}

/** `length` bytes without structure; `get` returns a live view. */
export function bytes(length: number, align = 1): FieldType<Uint8Array> {
  return {
    size: length,
    align,
    get: (view, address) => new Uint8Array(view.buffer, view.byteOffset + address, length),
  };
}

/** Raise a field's alignment. */
export function aligned<T>(align: number, field: FieldType<T>): FieldType<T> {
  return { ...field, align };
}

export type Fields = Record<string, FieldType<unknown>>;
type Accessor<F extends Fields> = {
  -readonly [K in keyof F]: F[K] extends FieldType<infer T> ? T : never;
} & { readonly view: DataView; readonly address: number };

export interface Struct<F extends Fields> extends FieldType<Accessor<F>> {
  readonly structName: string;
  readonly fields: F;
  readonly offsets: { readonly [K in keyof F]: number };
  /** Typed accessors for the structure at `address` of `view`. Nothing is copied. */
  at(view: DataView, address: number): Accessor<F>;
}

/** Describe a structure with C's layout rules. Fields come in declaration order, naturally aligned. */
export function struct<F extends Fields>(structName: string, fields: F): Struct<F> {
  const offsets: Record<string, number> = {};
  let offset = 0;
  let align = 1;
  for (const [name, field] of Object.entries(fields)) {
    offset = Math.ceil(offset / field.align) * field.align;
    offsets[name] = offset;
    offset += field.size;
    align = Math.max(align, field.align);
  }
  const size = Math.ceil(offset / align) * align;
  // Most commands look at few of the structures that there are.
  let handles: ReturnType<typeof handlesOf> | undefined;
  const at = (view: DataView, address: number) => {
    handles ??= handlesOf(structName, fields, offsets);
    return new handles(view, address) as object as Accessor<F>;
  };
  return { structName, fields, offsets: offsets as Struct<F>['offsets'], size, align, at, get: at };
}

/** What a structure's accessors are made by: a constructor, not Object.create with descriptors, which takes microseconds. They are made often. */
function handlesOf(structName: string, fields: Fields, offsets: Readonly<Record<string, number>>) {
  class Handle {
    readonly view: DataView;
    readonly address: number;
    constructor(view: DataView, address: number) {
      this.view = view;
      this.address = address;
    }
  }
  for (const [name, field] of Object.entries(fields)) {
    const at = offsets[name] as number;
    Object.defineProperty(Handle.prototype, name, {
      enumerable: true,
      get(this: Handle) {
        return field.get(this.view, this.address + at);
      },
      set(this: Handle, value: unknown) {
        if (!field.set) throw new TypeError(`${structName}.${name} is an aggregate: set its fields`);
        field.set(this.view, this.address + at, value);
      },
    });
  }
  return Handle;
}
