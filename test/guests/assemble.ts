/**
 * Micro-guests: sources in this folder (*.S), assembled and linked at test time by the machine's gcc and ld into a
 * folder of the process's own, which goes when the process ends.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ElfKernel, readElfKernel } from '../../src/image/elf/kernel.ts';

const HERE = import.meta.dirname;
const images = new Map<string, ElfKernel>();
let folder: string | undefined;

/** Why guests cannot be assembled here; false when they can. What a test gives as `skip`. */
export function assemblerMissing(): string | false {
  if (process.arch !== 'x64') return 'needs the gcc and ld of an x86-64 machine';
  for (const tool of ['gcc', 'ld']) {
    try {
      execFileSync(tool, ['--version'], { stdio: 'pipe' });
    } catch {
      return `${tool} is not installed`;
    }
  }
  return false;
}

function workFolder(): string {
  if (folder === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'domus-guests-'));
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  return folder;
}

/** The guest of `<name>.S`, as the domain builder takes it. */
export function microGuest(name: string): ElfKernel {
  const known = images.get(name);
  if (known) return known;
  const object = join(workFolder(), `${name}.o`);
  const linked = join(workFolder(), `${name}.elf`);
  execFileSync('gcc', ['-m64', '-c', '-I', HERE, '-o', object, join(HERE, `${name}.S`)], { stdio: 'pipe' });
  execFileSync('ld', ['-m', 'elf_x86_64', '-n', '-T', join(HERE, 'guest.lds'), '-o', linked, object], {
    stdio: 'pipe',
  });
  const image = readElfKernel(readFileSync(linked));
  images.set(name, image);
  return image;
}
