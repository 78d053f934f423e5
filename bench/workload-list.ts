/** What there is to measure: iterations a round, and what the figure means. */

export interface Workload {
  readonly name: string;
  readonly about: string;
  /** Iterations of the guest's loop in one round: 60 to 100 million instructions. */
  readonly count: number;
  /** Instructions that repeat count as Domus counts them, so its rate says little. */
  readonly isRateMeaningless?: boolean;
}

export const LOOPS: readonly Workload[] = [
  { name: 'alu', about: 'register arithmetic', count: 1_600_000 },
  { name: 'memory', about: 'loads and stores within 4 KiB', count: 1_600_000 },
  { name: 'chase', about: 'dependent loads over 1 MiB', count: 4_000_000 },
  { name: 'call', about: 'calls and returns', count: 1_600_000 },
  { name: 'branch', about: 'unpredictable branches', count: 2_400_000 },
  { name: 'muldiv', about: '64-bit multiply and divide', count: 3_000_000 },
  { name: 'sse_int', about: 'SSE integer', count: 1_200_000 },
  { name: 'sse_double', about: 'SSE double', count: 1_200_000 },
  { name: 'mixed', about: '4,000 different instructions', count: 8_000 },
  { name: 'string', about: 'string instructions, 4 KiB each', count: 12_000, isRateMeaningless: true },
];

export const FOURFOLD: Workload = {
  name: 'fourfold',
  about: 'lists, matrices, states, CRC (gcc -O2)',
  count: 600,
};
