/**
 * Looks for damage in an image and all that it builds on, says what it found in words, and mends what can be mended:
 * footers from their copies, and BAT entries that point nowhere, whose blocks then read as if never written.
 */

import { DomusError } from '../base/errors.ts';
import type { BlockFile } from '../platform/block-files.ts';
import { detectFormat } from './format.ts';
import type { DiskHost } from './host.ts';
import { type ImageFormat, LAYERS_MAX, SECTOR_BYTES } from './layer.ts';
import { findParent, openLayer } from './open.ts';
import { VhdImage } from './vhd/image.ts';
import { FOOTER_BYTES, UNUSED, VhdType } from './vhd/layout.ts';
import { findOverlaps, readStructures, type VhdMetadata } from './vhd/metadata.ts';

export interface Finding {
  readonly path: string;
  readonly kind: 'note' | 'damage';
  readonly what: string;
  /** What was done about it. */
  readonly repair?: string;
}

export interface CheckResult {
  readonly findings: readonly Finding[];
  /** Nothing is damaged, or not any more. */
  readonly isSound: boolean;
}

/** @throws DomusError when a file cannot be opened at all */
export async function checkImage(
  host: DiskHost,
  path: string,
  options: { format?: ImageFormat | undefined; repair?: boolean } = {},
): Promise<CheckResult> {
  const findings: Finding[] = [];
  let next: { path: string; format?: ImageFormat | undefined } | undefined = { path, format: options.format };
  for (let depth = 0; next && depth <= LAYERS_MAX; depth++) {
    const canRepair = options.repair === true && depth === 0;
    const lock = await host.files.lock(next.path, canRepair ? 'exclusive' : 'shared');
    try {
      const file = await host.files.open(next.path, canRepair ? 'write' : 'read');
      try {
        next = await checkFile(host, file, next.format, canRepair, findings);
      } finally {
        await file.close();
      }
    } finally {
      await lock.release();
    }
  }
  const isSound = findings.every(finding => finding.kind === 'note' || finding.repair !== undefined);
  return { findings, isSound };
}

/** Returns the parent, which is to be checked next. */
async function checkFile(
  host: DiskHost,
  file: BlockFile,
  given: ImageFormat | undefined,
  canRepair: boolean,
  findings: Finding[],
): Promise<{ path: string; format: ImageFormat } | undefined> {
  const { path } = file;
  try {
    const format = given ?? (await detectFormat(file));
    if (format !== 'vhd') {
      await openLayer(file, format);
      return undefined;
    }
    return await checkVhd(host, file, canRepair, findings);
  } catch (error) {
    if (!(error instanceof DomusError)) throw error;
    findings.push({ path, kind: 'damage', what: error.message.replace(`${path} is damaged: `, '') });
    return undefined;
  }
}

async function checkVhd(host: DiskHost, file: BlockFile, canRepair: boolean, findings: Finding[]) {
  const { path } = file;
  const { meta, entryFaults, used } = await readStructures(file);
  for (const what of meta.faults) {
    findings.push({
      path,
      kind: 'damage',
      what,
      ...(canRepair && { repair: 'both footers written anew' }),
    });
  }
  if (canRepair && meta.faults.length > 0) await mendFooters(file, meta);
  const bad = [
    ...entryFaults.map(({ block, why }) => ({ block, why })),
    ...findOverlaps(meta, used).map(block => ({ block, why: 'lies over something else' })),
  ];
  for (const { block, why } of bad) {
    const start = block * meta.blockBytes;
    const readsAs = meta.type === VhdType.differencing ? 'reads through to the parent' : 'reads as zeros';
    findings.push({
      path,
      kind: 'damage',
      what: `block ${block} (bytes ${start} to ${Math.min(start + meta.blockBytes, meta.sizeBytes) - 1}) ${why}`,
      ...(canRepair && { repair: `dropped: it ${readsAs}` }),
    });
    meta.table[block] = UNUSED;
  }
  if (canRepair && bad.length > 0) await mendTable(file, meta);
  if (meta.type !== VhdType.fixed) noteSpace(path, meta, await file.size(), findings);
  if (meta.type !== VhdType.differencing) return undefined;
  const parent = await findParent(host, new VhdImage(file, meta));
  return parent;
}

async function mendFooters(file: BlockFile, meta: VhdMetadata): Promise<void> {
  await file.write(0, meta.footer);
  await file.flush();
  const size = await file.size();
  const at = meta.footerAt < size ? meta.footerAt : Math.ceil(size / SECTOR_BYTES) * SECTOR_BYTES;
  await file.write(Math.max(at, meta.dataEnd), meta.footer);
  await file.flush();
}

async function mendTable(file: BlockFile, meta: VhdMetadata): Promise<void> {
  const bytes = new Uint8Array(meta.table.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [block, entry] of meta.table.entries()) view.setUint32(4 * block, entry);
  await file.write(meta.tableOffset, bytes);
  await file.flush();
}

function noteSpace(path: string, meta: VhdMetadata, fileBytes: number, findings: Finding[]): void {
  const used = meta.table.reduce((count, entry) => count + (entry === UNUSED ? 0 : 1), 0);
  const stride = Math.ceil((meta.bitmapBytes + meta.blockBytes) / 4096) * 4096;
  const unused = fileBytes - FOOTER_BYTES - meta.structuresEnd - used * stride;
  if (unused >= meta.blockBytes) {
    findings.push({
      path,
      kind: 'note',
      what: `${unused} bytes of the file are unused; compact gives them back`,
    });
  }
}
