/**
 * What a guest needs after a restore: the time of day, and random numbers that are not those of its copies.
 * Source: Linux, uapi/linux/random.h.
 */
import { AT_FDCWD, address, ioctl, O_CLOEXEC, O_RDWR, openat, setClock } from './system';
import { text } from './text';

const TIME_BYTES: usize = 16;
const SEED_BYTES: i32 = 64;
export const RESUME_BYTES: i32 = 80;
const RNDADDENTROPY: i64 = 0x40085203;
const RNDRESEEDCRNG: i64 = 0x5207;
/** struct rand_pool_info: bits, bytes, the bytes. */
const pool: usize = memory.data(72, 8);

/** The kernel's generator; below zero while it could not be opened. */
let generator: i32 = -1;

/** Open now what is needed then: all clones have the open file from their parent, and finding it is most of what they would do. */
export function prepareResume(): void {
  generator = openat(AT_FDCWD, text('/dev/urandom'), O_RDWR | O_CLOEXEC);
}

/** @param payload that of RESUME */
export function resume(payload: usize): void {
  setClock(payload);
  if (generator < 0) prepareResume();
  if (generator < 0) return;
  store<i32>(pool, SEED_BYTES * 8);
  store<i32>(pool, SEED_BYTES, 4);
  memory.copy(pool + 8, payload + TIME_BYTES, SEED_BYTES);
  ioctl(generator, RNDADDENTROPY, address(pool));
  ioctl(generator, RNDRESEEDCRNG, 0);
}
