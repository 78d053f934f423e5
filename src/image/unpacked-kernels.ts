/**
 * Kernels as they are loaded, kept beside the files that they were packed in: unpacking takes longer than all else that is done
 * before a guest's first instruction, and what lies in a file is read straight into guest memory.
 *
 *     kernels/<sha256 of the kernel file>    one page of JSON (`Header`), then the segments' bytes
 *
 * A file appears whole or not at all, and says how long it is. One that does not look right counts as absent.
 */
import { PAGE_SIZE } from '../base/brand.ts';
import type { KernelImage } from '../hypervisor/builder/domain-builder.ts';
import {
  fileAgeMs,
  joinPath,
  listFolder,
  readPart,
  readPartNow,
  removeFile,
  sweep,
  writeWhole,
} from '../platform/node/cache-folder.ts';
import { type KernelImage as KernelFile, readKernel } from './bzimage.ts';
import { readElfKernel } from './elf/kernel.ts';

const FORMAT = 1;
/** The newest of them stay. */
const KEPT = 4;

interface Header {
  readonly format: typeof FORMAT;
  readonly fileBytes: number;
  readonly entry: number;
  readonly segments: readonly {
    readonly address: number;
    readonly memorySize: number;
    /** Where its bytes are in the file. */
    readonly at: number;
    readonly length: number;
  }[];
}

export interface UnpackedKernels {
  /** @param sha256 of the file that the kernel came in */
  find(sha256: string): Promise<KernelImage | undefined>;
  /** Unpack and keep; what need not be unpacked, or cannot be kept, is only returned. @throws DomusError as `readKernel` */
  unpack(sha256: string, file: Uint8Array): Promise<KernelImage>;
}

export function openUnpackedKernels(cacheFolder: string): UnpackedKernels {
  const folder = joinPath(cacheFolder, 'kernels');
  const pathOf = (sha256: string): string => joinPath(folder, sha256);

  async function keep(sha256: string, kernel: KernelImage): Promise<void> {
    await sweep(folder);
    await writeWhole(pathOf(sha256), encode(kernel));
    const others = (await listFolder(folder)).filter(name => name !== sha256);
    const aged = await Promise.all(
      others.map(async name => ({ name, ageMs: (await fileAgeMs(pathOf(name))) ?? 0 })),
    );
    aged.sort((a, b) => a.ageMs - b.ageMs);
    for (const { name } of aged.slice(KEPT - 1)) await removeFile(pathOf(name));
  }

  return {
    async find(sha256) {
      const path = pathOf(sha256);
      const found = await readPart(path, PAGE_SIZE);
      const header = found && parseHeader(found.bytes, found.fileBytes);
      if (!header) return undefined;
      const segments = header.segments.map(({ address, memorySize, at, length }) => ({
        address,
        memorySize,
        contents: {
          length,
          readInto: (target: Uint8Array, from: number) => readPartNow(path, at + from, target),
        },
      }));
      return { entry: header.entry, segments };
    },
    async unpack(sha256, file) {
      const unpacked: KernelFile = readKernel(file);
      const { entry, segments } = readElfKernel(unpacked.elf);
      const kernel: KernelImage = { entry, segments };
      // A cache that cannot be written costs time and nothing else.
      if (unpacked.compression !== 'none') await keep(sha256, kernel).catch(() => {});
      return kernel;
    },
  };
}

function encode(kernel: KernelImage): Uint8Array {
  let at = PAGE_SIZE;
  const segments = kernel.segments.map(({ address, memorySize, contents }) => {
    const place = { address, memorySize, at, length: contents.length };
    at += contents.length;
    return place;
  });
  const header: Header = { format: FORMAT, fileBytes: at, entry: kernel.entry, segments };
  const file = new Uint8Array(at);
  new TextEncoder().encodeInto(JSON.stringify(header), file.subarray(0, PAGE_SIZE));
  kernel.segments.forEach(({ contents }, i) => {
    const place = file.subarray(segments[i]!.at, segments[i]!.at + contents.length);
    if (contents instanceof Uint8Array) place.set(contents);
    else contents.readInto(place, 0);
  });
  return file;
}

function parseHeader(bytes: Uint8Array, fileBytes: number): Header | undefined {
  try {
    const end = bytes.indexOf(0);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as Header;
    if (header.format !== FORMAT || header.fileBytes !== fileBytes) return undefined;
    let free = 0;
    let at = PAGE_SIZE;
    for (const segment of header.segments) {
      const numbers = [segment.address, segment.memorySize, segment.length];
      if (!numbers.every(value => Number.isSafeInteger(value) && value >= 0)) return undefined;
      if (segment.at !== at || segment.address < free || segment.length > segment.memorySize)
        return undefined;
      at += segment.length;
      free = segment.address + segment.memorySize;
    }
    const isInside = header.segments.some(
      ({ address, length }) => header.entry >= address && header.entry < address + length,
    );
    return at === fileBytes && isInside ? header : undefined;
  } catch {
    return undefined;
  }
}
