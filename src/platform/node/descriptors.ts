/**
 * What the standard streams are, asked of the system. Node's own objects for them load parts of Node that a command may never need: of a file as
 * input, promises for files and all that they are made of.
 */
import { fstatSync, statSync } from 'node:fs';
import { devNull } from 'node:os';
import { isatty } from 'node:tty';

export type DescriptorKind = 'file' | 'null' | 'terminal' | 'other';

export function descriptorKind(fd: number): DescriptorKind {
  try {
    const facts = fstatSync(fd);
    if (facts.isFile()) return 'file';
    if (!facts.isCharacterDevice()) return 'other';
    if (facts.rdev === statSync(devNull).rdev) return 'null';
  } catch {
    // It is closed, or the system has no such names: Node knows.
  }
  return isatty(fd) ? 'terminal' : 'other';
}
