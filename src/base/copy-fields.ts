/**
 * Copying structures of different layouts field by field, without a look at the fields: which bytes go where is found out once, and
 * bytes that lie side by side in both layouts go together.
 */
import type { Fields, FieldType, Struct } from './struct.ts';

/** Where a structure is: what its accessors have. */
interface Place {
  readonly view: DataView;
  readonly address: number;
}

interface Part {
  readonly to: number;
  readonly from: number;
  length: number;
}

/**
 * A function that copies the fields of `layout` from one structure to another. Either may have more fields than these, in other
 * places, as long as these are there under the same names and of the same size. Of two arrays the shorter one counts.
 */
export function fieldCopier<F extends Fields, A extends F, B extends F>(
  layout: { readonly fields: F },
  to: Struct<A>,
  from: Struct<B>,
): (to: Place, from: Place) => void {
  const parts: Part[] = [];
  listFields(layout.fields, to, from, 0, 0, parts);
  return (target, source) => {
    for (const part of parts) {
      bytesAt(target, part.to, part.length).set(bytesAt(source, part.from, part.length));
    }
  };
}

const bytesAt = ({ view, address }: Place, offset: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + address + offset, length);

type Field = FieldType<unknown>;

function listFields(
  fields: Fields,
  to: Field,
  from: Field,
  toAt: number,
  fromAt: number,
  parts: Part[],
): void {
  for (const [name, field] of Object.entries(fields)) {
    const [target, source] = [to.fields?.[name], from.fields?.[name]];
    if (!target || !source) throw new TypeError(`${name} is not a field of both structures`);
    list(
      field,
      target,
      source,
      toAt + (to.offsets?.[name] as number),
      fromAt + (from.offsets?.[name] as number),
      parts,
    );
  }
}

function list(field: Field, to: Field, from: Field, toAt: number, fromAt: number, parts: Part[]): void {
  if (field.fields) {
    listFields(field.fields, to, from, toAt, fromAt, parts);
    return;
  }
  const { element } = field;
  if (element) {
    const [target, source] = [to.element as Field, from.element as Field];
    const count = Math.min(to.length as number, from.length as number);
    // Of plain values all at once: there are thousands, for each command that restores something.
    if (!element.fields && !element.element) {
      checkSize(target, source);
      add(toAt, fromAt, count * target.size, parts);
      return;
    }
    for (let i = 0; i < count; i++) {
      list(element, target, source, toAt + i * target.size, fromAt + i * source.size, parts);
    }
    return;
  }
  checkSize(to, from);
  add(toAt, fromAt, to.size, parts);
}

function checkSize(to: Field, from: Field): void {
  if (to.size !== from.size) throw new TypeError(`a field of ${from.size} bytes does not go into ${to.size}`);
}

function add(to: number, from: number, length: number, parts: Part[]): void {
  const last = parts.at(-1);
  if (last && last.to + last.length === to && last.from + last.length === from) last.length += length;
  else parts.push({ to, from, length });
}
