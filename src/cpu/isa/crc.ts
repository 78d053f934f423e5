/** CRC32 of SSE4.2: works on general registers and needs no vector state. */
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import type { Operand } from './emitter.ts';

const accumulate: Semantics = (x, destination, source) => {
  const from = source as Operand;
  const target = destination as Operand;
  const data = w.extendU(from.read());
  const result = x.runtime('checksum', w.wrap(target.read()), data, w.i32(from.size));
  target.write(target.size === 8 ? w.extendU(result) : result);
};

export const crc: Definition[] = [
  define('crc32', 'F2 0F 38 F0 /r', 'Gy Eb', accumulate),
  define('crc32', 'F2 0F 38 F1 /r', 'Gy Ev', accumulate),
];
