/** A small seeded generator of 32-bit numbers (sfc32): the same seed gives the same cases everywhere. */
export interface Random {
  u32(): number;
  /** 0 .. limit - 1 */
  below(limit: number): number;
  /** True once in `n` on average. */
  oneIn(n: number): boolean;
  pick<T>(items: readonly T[]): T;
}

/** A number for a text, to seed each form by its name. */
export function hashText(text: string, seed = 0): number {
  let h = 0x811c_9dc5 ^ seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x0100_0193);
  return h >>> 0;
}

export function random(seed: number): Random {
  let a = seed | 0;
  let b = 0x9e37_79b9;
  let c = 0x243f_6a88;
  let counter = 1;
  const u32 = (): number => {
    const t = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) u32();
  const below = (limit: number): number => Math.floor((u32() / 2 ** 32) * limit);
  return {
    u32,
    below,
    oneIn: n => below(n) === 0,
    pick: items => items[below(items.length)]!,
  };
}
