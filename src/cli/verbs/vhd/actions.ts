/** What `domus vhd` can do, one function each: operands in, a result for people and one for programs out. */
import { DomusError } from '../../../base/errors.ts';
import { checkImage } from '../../../disk/check.ts';
import { coalesceFile } from '../../../disk/coalesce.ts';
import { compactDisk } from '../../../disk/compact.ts';
import { convertDisk } from '../../../disk/convert.ts';
import { createImage } from '../../../disk/create.ts';
import type { Disk } from '../../../disk/disk.ts';
import { formatByName } from '../../../disk/format.ts';
import type { DiskHost, DiskProgress } from '../../../disk/host.ts';
import { diskInfo, type ImageInfo } from '../../../disk/info.ts';
import type { ImageFormat } from '../../../disk/layer.ts';
import { openDisk } from '../../../disk/open.ts';
import { resizeDisk } from '../../../disk/resize.ts';
import { cloneDisk, snapshotDisk } from '../../../disk/snapshot.ts';
import { formatSize } from '../../../toolstack/config.ts';
import { parseNewSize, parseSize } from '../../../toolstack/size.ts';
import { ExitCode } from '../../exit-codes.ts';

export interface ActionRequest {
  readonly host: DiskHost;
  readonly files: readonly string[];
  readonly values: {
    readonly format: ImageFormat | undefined;
    readonly to: 'vhd' | 'raw' | undefined;
    readonly fixed: boolean;
    readonly repair: boolean;
    readonly child: string | undefined;
  };
  readonly signal: AbortSignal;
  readonly onProgress: DiskProgress;
}

export interface ActionResult {
  readonly text: string;
  readonly json: unknown;
  readonly exitCode?: number;
}

interface Action {
  readonly usage: string;
  readonly summary: string;
  run(request: ActionRequest): Promise<ActionResult>;
}

const operand = (request: ActionRequest, index: number): string => request.files[index] as string;

async function withDisk<T>(
  request: ActionRequest,
  isReadOnly: boolean,
  use: (disk: Disk) => Promise<T>,
): Promise<T> {
  const { host, values } = request;
  const disk = await openDisk(host, operand(request, 0), { format: values.format, isReadOnly });
  try {
    return await use(disk);
  } finally {
    await disk.close();
  }
}

/** The format that a new file is to have. */
function targetFormat({ values }: ActionRequest, path: string): 'vhd' | 'raw' {
  if (values.to !== undefined) return values.to;
  const byName = formatByName(path) ?? 'vhd';
  if (byName === 'vhd' || byName === 'raw') return byName;
  throw new DomusError(
    'E_USAGE',
    `${byName} images are only read`,
    'choose another name, or --to vhd or --to raw',
  );
}

const typeOf = ({ values }: ActionRequest) => (values.fixed ? 'fixed' : 'dynamic');

async function create(request: ActionRequest): Promise<ActionResult> {
  const path = operand(request, 0);
  const sizeBytes = parseSize(operand(request, 1));
  const format = targetFormat(request, path);
  await createImage(request.host, path, { format, sizeBytes, type: typeOf(request) });
  return { text: `${path}: ${formatSize(sizeBytes)}\n`, json: { path, format, sizeBytes } };
}

function describe(info: ImageInfo): string {
  const lines = [
    `${info.path}:`,
    `  format     ${[info.format, info.type].filter(Boolean).join(', ')}`,
    `  disk size  ${formatSize(info.sizeBytes)} (${info.sizeBytes} bytes)`,
    `  file size  ${formatSize(info.fileBytes)} on the host`,
    ...(info.blocks === undefined
      ? []
      : [`  blocks     ${info.blocksUsed} of ${info.blocks} used, ${formatSize(info.blockBytes ?? 0)} each`]),
    ...(info.uuid === undefined ? [] : [`  uuid       ${info.uuid}`, `  created    ${info.created}`]),
    ...(info.isParent ? ['  other disks build on it; it is not written'] : []),
  ];
  return `${lines.join('\n')}\n`;
}

const info = (request: ActionRequest): Promise<ActionResult> =>
  withDisk(request, true, async disk => {
    const [top, ...parents] = await diskInfo(request.host, disk);
    const all = top ? [top, ...parents] : parents;
    return { text: all.map(describe).join(''), json: { ...top, parents } };
  });

async function check(request: ActionRequest): Promise<ActionResult> {
  const path = operand(request, 0);
  const { values } = request;
  const { findings, isSound } = await checkImage(request.host, path, {
    format: values.format,
    repair: values.repair,
  });
  const lines = findings.map(({ path: file, kind, what, repair }) => {
    const done = repair ? `; ${repair}` : '';
    return `${file}: ${kind === 'note' ? 'note: ' : ''}${what}${done}`;
  });
  lines.push(
    isSound
      ? `${path}: sound`
      : `${path}: damaged${values.repair ? '' : '; --repair mends what can be mended'}`,
  );
  return {
    text: `${lines.join('\n')}\n`,
    json: { path, isSound, findings },
    exitCode: isSound ? ExitCode.ok : ExitCode.failed,
  };
}

const snapshot = (request: ActionRequest): Promise<ActionResult> =>
  withDisk(request, false, async disk => {
    const path = operand(request, 1);
    await snapshotDisk(request.host, disk, path);
    return { text: `${path}: ${disk.path} as it is now\n`, json: { path, of: disk.path } };
  });

const clone = (request: ActionRequest): Promise<ActionResult> =>
  withDisk(request, false, async disk => {
    const path = operand(request, 1);
    await cloneDisk(request.host, disk, path);
    return { text: `${path}: a clone of ${disk.path}\n`, json: { path, of: disk.path } };
  });

async function coalesce(request: ActionRequest): Promise<ActionResult> {
  const { host, values, onProgress, signal } = request;
  const path = operand(request, 0);
  await coalesceFile(host, path, { child: values.child, onProgress, signal });
  return { text: `${path}: merged into its parent\n`, json: { path } };
}

const convert = (request: ActionRequest): Promise<ActionResult> =>
  withDisk(request, true, async disk => {
    const { host, onProgress, signal } = request;
    const path = operand(request, 1);
    const format = targetFormat(request, path);
    await convertDisk(host, disk, path, { format, type: typeOf(request), onProgress, signal });
    const { sizeBytes } = disk;
    return { text: `${path}: ${formatSize(sizeBytes)}\n`, json: { path, format, sizeBytes } };
  });

const resize = (request: ActionRequest): Promise<ActionResult> =>
  withDisk(request, false, async disk => {
    const sizeBytes = parseNewSize(operand(request, 1), disk.sizeBytes);
    await resizeDisk(disk, sizeBytes);
    return { text: `${disk.path}: ${formatSize(sizeBytes)}\n`, json: { path: disk.path, sizeBytes } };
  });

const compact = (request: ActionRequest): Promise<ActionResult> =>
  withDisk(request, false, async disk => {
    const before = await request.host.files.allocatedBytes(disk.path);
    const result = await compactDisk(disk, request.onProgress, request.signal);
    const after = await request.host.files.allocatedBytes(disk.path);
    return {
      text: `${disk.path}: ${formatSize(before)} on the host before, ${formatSize(after)} now\n`,
      json: { path: disk.path, beforeBytes: before, fileBytes: after, ...result },
    };
  });

export const ACTIONS: Readonly<Record<string, Action>> = {
  create: { usage: 'create FILE SIZE', summary: 'a new image that holds zeros', run: create },
  info: { usage: 'info FILE', summary: 'what an image and its parents are', run: info },
  check: { usage: 'check FILE', summary: 'look for damage in an image and its parents', run: check },
  snapshot: {
    usage: 'snapshot FILE SNAPSHOT',
    summary: 'keep what FILE holds now as SNAPSHOT',
    run: snapshot,
  },
  clone: { usage: 'clone FILE CLONE', summary: 'a new disk with what FILE holds now', run: clone },
  coalesce: { usage: 'coalesce FILE', summary: 'merge FILE into its parent', run: coalesce },
  convert: {
    usage: 'convert FILE TARGET',
    summary: 'copy the disk into a new file of any format written',
    run: convert,
  },
  resize: {
    usage: 'resize FILE SIZE',
    summary: 'another size: 20G, +5G; smaller only if nothing is lost',
    run: resize,
  },
  compact: { usage: 'compact FILE', summary: 'give back what a VHD file does not need', run: compact },
};
