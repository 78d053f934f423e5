/**
 * Forms: the concrete shapes that a table entry takes. An entry such as ADD Ev,Gv has a form for each operand size and
 * for a register and a memory destination; the decoder picks one, the interpreter has a handler for each.
 */
import type { Definition } from './definition.ts';
import { HOT_FORMS } from './hot-forms.ts';
import { TABLE } from './table.ts';
import { USUAL_FORMS } from './usual-forms.ts';
import { FIRST_FORM, variantOf } from './variant.ts';

export interface Form {
  readonly id: number;
  readonly definition: Definition;
  /** Operand size in bytes: 2, 4 or 8. */
  readonly size: number;
  /** The rm operand is in memory. */
  readonly memory: boolean;
  readonly rep: 0 | 1 | 2;
  /** 8, 4 or 2. */
  readonly addressSize: number;
  /** For 64-bit mode; forms of entries that are not modal serve all modes and say true. */
  readonly mode64: boolean;
  /** With LOCK: memory is changed atomically. */
  readonly lock: boolean;
}

/** With and without LOCK where that makes a difference. */
function locks({ options }: Definition, memory: boolean): boolean[] {
  if (!options.lock || !memory) return [false];
  return options.lock === 'always' ? [true] : [false, true];
}

function variants(definition: Definition): Omit<Form, 'id' | 'definition'>[] {
  const { options, operands } = definition;
  const scalable = operands.some(o => typeof o.size === 'string') || options.sized || options.size;
  const result: Omit<Form, 'id' | 'definition'>[] = [];
  const worlds = options.modal ? [true, false] : [true];
  const mayBeMemory = operands.some(o => 'EWQ'.includes(o.kind));
  const memories = operands.some(o => 'MO'.includes(o.kind)) ? [true] : mayBeMemory ? [false, true] : [false];
  for (const mode64 of worlds) {
    if (mode64 && options.modal && (options.mode === 'no64' || options.mode === 'protectedNo64')) continue;
    if (!mode64 && options.mode === 'only64') continue;
    let sizes = scalable ? (definition.vex ? [4, 8] : [2, 4, 8]) : [4];
    if (options.size && mode64) sizes = options.size === 'f64' ? [8] : [2, 8];
    if (options.size && !mode64) sizes = [2, 4];
    if (options.modal && !mode64) sizes = sizes.filter(s => s !== 8);
    if (definition.only) sizes = sizes.filter(s => s === definition.only);
    const addressSizes = options.addressSized ? (mode64 ? [8, 4] : [4, 2]) : [8];
    for (const size of sizes)
      for (const memory of memories)
        for (const addressSize of addressSizes)
          for (const rep of options.rep ? ([0, 1, 2] as const) : ([0] as const))
            for (const lock of locks(definition, memory))
              result.push({ size, memory, rep, addressSize, mode64, lock });
  }
  return result;
}

/** A form among those of its entry, as hot-forms.ts and usual-forms.ts write it. */
export function shapeOf({ size, memory, rep, addressSize, mode64, lock }: Omit<Form, 'id'>): string {
  const prefixes = `${lock ? 'l' : ''}${['', 'e', 'n'][rep]}${addressSize === 8 ? '' : `a${addressSize}`}`;
  return `${size}${memory ? 'm' : 'r'}${prefixes}${mode64 ? '' : 'p'}`;
}
const isListed = (list: Readonly<Record<string, string>>, form: Omit<Form, 'id'>): boolean =>
  list[`${form.definition.name} ${form.definition.encoding}`]?.split(' ').includes(shapeOf(form)) === true;

const shapes = TABLE.flatMap(definition =>
  variants(definition).map(variant => ({ id: 0, definition, ...variant })),
);
/** Worth a place in the interpreter's main loop. */
const hot = new Set(shapes.filter(form => isListed(HOT_FORMS, form)));
/** Worth being there from the beginning. */
const usual = new Set(shapes.filter(form => !hot.has(form) && isListed(USUAL_FORMS, form)));
/** All forms, the hot ones first, then the usual ones; a form's id is also the number of its handler. */
export const FORMS: readonly Form[] = [
  ...hot,
  ...usual,
  ...shapes.filter(form => !hot.has(form) && !usual.has(form)),
];
FORMS.forEach((form, index) => {
  (form as { id: number }).id = FIRST_FORM + index;
});
/** Handlers with numbers below this are inside the main loop. */
export const FIRST_CALLED = FIRST_FORM + hot.size;
/** Handlers with numbers from this on are in a module of their own: interpreter/rare-forms.ts. */
export const FIRST_RARE = FIRST_CALLED + usual.size;

/** Handlers with numbers from this on are regions of the translator. */
export const FIRST_REGION = FIRST_FORM + FORMS.length;

const byDefinition = Map.groupBy(FORMS, ({ definition }) => definition);
/** For a table entry: the variants that it has, each with its form's id. */
export const variantsOf = (definition: Definition): (readonly [variant: number, id: number])[] =>
  (byDefinition.get(definition) ?? []).map(({ id, size, memory, rep, addressSize, mode64, lock }) => [
    variantOf(size, memory, rep, addressSize, mode64, lock),
    id,
  ]);
export const formById = (id: number): Form | undefined => FORMS[id - FIRST_FORM];

/** Operand size that the semantics see: strings have their element's size there. */
export function semanticSize({ definition, size }: Form): number {
  const first = definition.operands[0];
  if (first?.kind !== 'X') return size;
  if (first.size === 1) return 1;
  return first.size === 'z' && size === 8 ? 4 : size;
}

/** Tells tables apart: an interpreter generated from another one would run the wrong handlers. */
export function formsDigest(): number {
  let hash = 0x811c9dc5;
  const add = (value: number): void => {
    hash = Math.imul(hash ^ value, 0x01000193);
  };
  const numbers = new Map(TABLE.map((definition, number) => [definition, number]));
  for (const { name, encoding } of TABLE)
    for (const character of `${name} ${encoding};`) add(character.charCodeAt(0));
  for (const { definition, size, memory, rep, addressSize, mode64, lock } of FORMS) {
    add(numbers.get(definition) as number);
    add(variantOf(size, memory, rep, addressSize, mode64, lock));
  }
  return hash >>> 0;
}
