/**
 * Memory by the element (SDM vol. 2, VMASKMOV, VPMASKMOV, VPGATHER): elements that the mask leaves out are not accessed, so they
 * cannot fault.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Options, type Semantics } from './definition.ts';
import { type Emitter, type Operand, typeOf } from './emitter.ts';
import { ZERO } from './sse-common.ts';
import { AVX } from './vex-common.ts';

type Size = 4 | 8;
const shapeOf = (size: Size) => (size === 4 ? 'i32x4' : 'i64x2');
/** Element `i` of an operand of one or two parts. */
const elementOf = (parts: readonly Value[], size: Size, i: number): Value =>
  w.extractLane(shapeOf(size), parts[Math.floor((i * size) / 16)] as Value, i % (16 / size));
/** Is the sign bit of element `i` set? */
const isChosen = (mask: readonly Value[], size: Size, i: number): Value => {
  const element = elementOf(mask, size, i);
  return w.ltS(element, w.integer(element.type, 0));
};
/** Variables that hold a vector's parts. */
const variables = (x: Emitter, parts: readonly Value[]): w.Local[] =>
  parts.map(part => {
    const local = x.local('v128');
    x.set(local, part);
    return local;
  });
function setElement(x: Emitter, parts: readonly w.Local[], size: Size, i: number, value: Value): void {
  const part = parts[Math.floor((i * size) / 16)] as w.Local;
  x.set(part, w.replaceLane(shapeOf(size), part, i % (16 / size), value));
}

const loadMasked =
  (size: Size): Semantics =>
  (x, destination, selector, source) => {
    const target = destination as Operand;
    const mask = (selector as Operand).readParts();
    const result = variables(
      x,
      mask.map(() => ZERO),
    );
    const base = (source as Operand).address();
    for (let i = 0; i < target.size / size; i++) {
      x.if(isChosen(mask, size, i), () => {
        const address = x.movedAddress(w.add(base, w.i64(i * size)));
        setElement(x, result, size, i, x.loadMemory(address, size));
      });
    }
    target.writeParts(result);
  };
const storeMasked =
  (size: Size): Semantics =>
  (x, destination, selector, source) => {
    const target = destination as Operand;
    const value = (source as Operand).readParts();
    const mask = (selector as Operand).readParts();
    const base = target.address();
    const each = (action: (i: number, address: Value) => void) => {
      for (let i = 0; i < (selector as Operand).size / size; i++) {
        x.if(isChosen(mask, size, i), () => action(i, x.movedAddress(w.add(base, w.i64(i * size)))));
      }
    };
    // All of it can be written, or nothing is.
    each((_i, address) => x.faultIf(x.runtime('checkWrite', address, w.i32(size))));
    each((i, address) => x.storeMemory(address, size, elementOf(value, size, i)));
  };

/**
 * One element after the other, the lowest first. When one faults, those below it stay loaded and their elements of the mask are zero, so
 * that the instruction goes on there when it is run again; nothing else has changed then. At the end all of the mask is zero.
 */
const gather =
  (size: Size, indexSize: Size): Semantics =>
  (x, destination, source, indexVector, selector) => {
    const [target, indices, masks] = [destination as Operand, indexVector as Operand, selector as Operand];
    const count = Math.min(target.size / size, indices.size / indexSize);
    const index = indices.readParts();
    const scale = x.let(w.extendU(indices.number()));
    const chosen = masks.readParts();
    const mask = variables(x, chosen);
    const result = variables(x, target.readParts());
    const base = (source as Operand).address();
    // In place: upper halves that are no part of it are to stay for now.
    const places = [x.let(target.location()), x.let(masks.location())];
    const keep = () =>
      [result, mask].forEach((parts, n) => {
        parts.forEach((part, i) => {
          x.code.store(16, places[n] as Value, part, 16 * i);
        });
      });
    for (let i = 0; i < count; i++) {
      x.if(isChosen(chosen, size, i), () => {
        if (i > 0) keep();
        const element = elementOf(index, indexSize, i);
        const address = x.movedAddress(w.add(base, w.shl(w.extendS(element), scale)));
        setElement(x, result, size, i, x.loadMemory(address, size));
      });
      setElement(x, mask, size, i, w.integer(typeOf(size), 0));
    }
    // Elements that have no index are zero.
    const bytes = count * size;
    const finished = result.map((part, i) => {
      if (bytes >= 16 * (i + 1)) return part;
      return bytes === 16 * i + 8 ? x.let(w.replaceLane('i64x2', part, 1, w.i64(0))) : ZERO;
    });
    target.writeParts(finished);
    masks.writeParts(finished.map(() => ZERO));
  };

const MOVED: Options = { ...AVX, bitString: true };
const masked = (name: string, load: string, store: string, size: Size): Definition[] => [
  ...defineVex(name, `VEX.66.0F38.${load} /r`, 'Vx Hx Mx', loadMasked(size), { ...MOVED, elements: size }),
  ...defineVex(name, `VEX.66.0F38.${store} /r`, 'Mx Hx Vx', storeMasked(size), { ...MOVED, elements: size }),
];
/** Sizes of the vectors of indices and of elements differ when an index has not the size of an element. */
const gathered = (name: string, encoding: string, size: Size, indexSize: Size): Definition[] => {
  const semantics = gather(size, indexSize);
  const memory = size === 4 ? 'Md' : 'Mq';
  if (size === indexSize) return defineVex(name, `VEX.${encoding}`, `Vx ${memory} Kx Hx`, semantics, MOVED);
  const wide = size === 4 ? `Vdq ${memory} Kx Hdq` : `Vx ${memory} Kh Hx`;
  return ['128', '256'].map(length => define(name, `VEX.${length}.${encoding}`, wide, semantics, MOVED));
};

export const vexMemory: Definition[] = [
  ...masked('vmaskmovps', 'W0 2C', 'W0 2E', 4),
  ...masked('vmaskmovpd', 'W0 2D', 'W0 2F', 8),
  ...masked('vpmaskmovd', 'W0 8C', 'W0 8E', 4),
  ...masked('vpmaskmovq', 'W1 8C', 'W1 8E', 8),
  ...gathered('vpgatherdd', '66.0F38.W0 90 /r', 4, 4),
  ...gathered('vpgatherdq', '66.0F38.W1 90 /r', 8, 4),
  ...gathered('vpgatherqd', '66.0F38.W0 91 /r', 4, 8),
  ...gathered('vpgatherqq', '66.0F38.W1 91 /r', 8, 8),
  ...gathered('vgatherdps', '66.0F38.W0 92 /r', 4, 4),
  ...gathered('vgatherdpd', '66.0F38.W1 92 /r', 8, 4),
  ...gathered('vgatherqps', '66.0F38.W0 93 /r', 4, 8),
  ...gathered('vgatherqpd', '66.0F38.W1 93 /r', 8, 8),
];
