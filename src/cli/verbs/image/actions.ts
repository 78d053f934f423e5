/** What `domus image` does, one function for each word. */
import { DomusError } from '../../../base/errors.ts';
import { parseReference } from '../../../image/reference.ts';
import { exportRootDisk } from '../../../image/rootfs/make-root.ts';
import type { StoredImage } from '../../../image/store.ts';
import { formatSize } from '../../../toolstack/config.ts';
import { nodeDiskHost } from '../../../toolstack/disk-host.ts';
import type { Images } from '../../../toolstack/images.ts';
import { ExitCode } from '../../exit-codes.ts';
import { usage } from '../../usage.ts';

/** Options of the verb that actions look at. */
export interface ImageOptions {
  readonly tag: string | undefined;
  readonly include: readonly (readonly string[])[];
  readonly size: number | undefined;
}

export interface Request {
  readonly images: Images;
  readonly operands: readonly string[];
  readonly values: ImageOptions;
  readonly progress: (phase: string, detail: string, done?: number, total?: number) => void;
  readonly signal: AbortSignal;
}

export interface Result {
  readonly text: string;
  readonly json: unknown;
  readonly exitCode?: number;
}

export interface Action {
  readonly usage: string;
  readonly summary: string;
  /** How many operands it takes. */
  readonly operands: readonly [min: number, max: number];
  run(request: Request): Promise<Result>;
}

/** `2026-11-28 18:20`, in UTC. */
const day = (seconds: number): string =>
  new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ');

const jsonOf = ({ name, root, fileBytes, diskBytes, created, config }: StoredImage) => ({
  name,
  root,
  fileBytes,
  diskBytes,
  created: new Date(created * 1000).toISOString(),
  config,
});

const oneImage = (image: StoredImage): Result => ({
  text: `${image.name}: ${formatSize(image.fileBytes)}, root ${image.root.slice(0, 12)}\n`,
  json: jsonOf(image),
});

async function listImages({ images }: Request): Promise<Result> {
  const all = await images.store.list();
  const rows = [
    ['NAME', 'FILE', 'DISK', 'CREATED', 'ROOT'],
    ...all.map(({ name, fileBytes, diskBytes, created, root }) => [
      name,
      formatSize(fileBytes),
      formatSize(diskBytes),
      day(created),
      root.slice(0, 12),
    ]),
  ];
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map(row => row[i]!.length)));
  const lines = rows.map(row =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
  return { text: `${lines.join('\n')}\n`, json: all.map(jsonOf) };
}

async function pull({ images, operands, progress, signal }: Request): Promise<Result> {
  const reference = operands[0]!;
  const { kind } = parseReference(reference);
  if (kind !== 'debian' && kind !== 'registry') {
    throw usage(
      `${reference} comes from nowhere else`,
      'pull takes debian:SUITE or HOST/NAME:TAG; see "domus image build"',
    );
  }
  const image = await images.obtain({ reference, refresh: true, progress, signal });
  await images.store.collectGarbage();
  return oneImage(image);
}

async function build({ images, operands, values, progress, signal }: Request): Promise<Result> {
  const reference = operands[0]!;
  const { kind } = parseReference(reference);
  const include = values.include.flat();
  if (include.length > 0 && kind !== 'debian') {
    throw usage('--include needs packages', 'only debian:SUITE is made of packages');
  }
  if (values.tag === undefined && (include.length > 0 || values.size !== undefined)) {
    throw usage('an image with settings of its own needs a name of its own', 'add -t NAME');
  }
  const image = await images.obtain({
    reference,
    refresh: true,
    include,
    progress,
    signal,
    ...(values.tag !== undefined && { name: values.tag }),
    ...(values.size !== undefined && { diskBytes: values.size }),
  });
  await images.store.collectGarbage();
  return oneImage(image);
}

/** A disk of one's own with what an image holds. */
async function exportImage({ images, operands, progress, signal }: Request): Promise<Result> {
  const [reference, path] = operands as [string, string];
  const image = await images.obtain({ reference, progress, signal });
  await exportRootDisk(nodeDiskHost(), images.store.rootPath(image.root), path, {
    onProgress: (done, total) => progress('export', path, done, total),
    signal,
  });
  return {
    text: `${path}: ${formatSize(image.diskBytes)}, holds ${image.name}\n`,
    json: { ...jsonOf(image), path },
  };
}

async function remove({ images, operands }: Request): Promise<Result> {
  const missing: string[] = [];
  for (const name of operands) if (!(await images.store.remove(storedName(name)))) missing.push(name);
  const freedBytes = await images.store.collectGarbage();
  if (missing.length > 0) {
    throw new DomusError(
      'E_IMAGE_UNKNOWN',
      `there is no image ${missing.join(', ')}`,
      'see "domus image list"',
    );
  }
  return { text: `freed ${formatSize(freedBytes)}\n`, json: { removed: operands, freedBytes } };
}

/** As it stands in the list: a name of one's own has a tag, added or not. */
function storedName(text: string): string {
  const reference = parseReference(text);
  return reference.kind === 'stored' ? reference.name : text;
}

async function check({ images, operands, progress }: Request): Promise<Result> {
  const names = operands.map(storedName);
  const all = await images.store.list();
  const chosen = names.length > 0 ? all.filter(({ name }) => names.includes(name)) : all;
  const unknown = names.filter(name => !all.some(image => image.name === name));
  if (unknown.length > 0) {
    throw new DomusError(
      'E_IMAGE_UNKNOWN',
      `there is no image ${unknown.join(', ')}`,
      'see "domus image list"',
    );
  }
  const results: { name: string; isIntact: boolean }[] = [];
  for (const image of chosen) {
    progress('check', image.name);
    results.push({ name: image.name, isIntact: await images.store.isIntact(image) });
  }
  const damaged = results.filter(({ isIntact }) => !isIntact);
  return {
    text: results.map(({ name, isIntact }) => `${name}: ${isIntact ? 'intact' : 'damaged'}\n`).join(''),
    json: results,
    exitCode: damaged.length > 0 ? ExitCode.failed : ExitCode.ok,
  };
}

export const ACTIONS: Readonly<Record<string, Action>> = {
  list: { usage: 'list', summary: 'the images in the store', operands: [0, 0], run: listImages },
  pull: {
    usage: 'pull IMAGE',
    summary: 'fetch debian:SUITE or HOST/NAME:TAG, also when an older one is there',
    operands: [1, 1],
    run: pull,
  },
  build: {
    usage: 'build [-t NAME] SOURCE',
    summary: 'make an image of a Debian suite, an OCI image, an archive or a folder',
    operands: [1, 1],
    run: build,
  },
  export: {
    usage: 'export IMAGE FILE',
    summary: 'write its root to a VHD of your own, for run --boot --disk FILE',
    operands: [2, 2],
    run: exportImage,
  },
  rm: {
    usage: 'rm NAME...',
    summary: 'forget images, and free what only they needed',
    operands: [1, Infinity],
    run: remove,
  },
  check: {
    usage: 'check [NAME...]',
    summary: 'compare roots with their hashes; exit code 1 when one is damaged',
    operands: [0, Infinity],
    run: check,
  },
};
