/**
 * Disks as people write them: `FILE[,ro][,format=vhd][,dev=xvdb]`, or as in xl's configuration, with positions
 * (`FILE,FORMAT,VDEV,ACCESS`) or names (`format=vhd,vdev=xvda,access=rw,target=FILE`).
 */
import { vdevName, vdevNumber } from '../backend/block/vdev.ts';
import { DomusError } from '../base/errors.ts';
import { IMAGE_FORMATS, parseImageFormat } from '../disk/format.ts';
import type { ImageFormat } from '../disk/layer.ts';
import { parseSize } from './size.ts';

export interface DiskSpec {
  readonly path: string;
  readonly format?: ImageFormat | undefined;
  readonly isReadOnly?: boolean | undefined;
  /** `xvda`; default: the first that is free. */
  readonly device?: string | undefined;
  /** Requests that may be on their way at once; default 128. */
  readonly queueDepth?: number | undefined;
  readonly requestsPerSecond?: number | undefined;
  readonly bytesPerSecond?: number | undefined;
}

const bad = (text: string, why: string) =>
  new DomusError(
    'E_USAGE',
    `the disk "${text}" cannot be read: ${why}`,
    'write FILE[,ro][,format=vhd][,dev=xvda]',
  );

type Fields = { -readonly [Key in keyof DiskSpec]?: DiskSpec[Key] };

const ACCESS: Readonly<Record<string, boolean>> = { ro: true, r: true, rw: false, w: false };

function count(text: string, what: string, value: string): number {
  const found = parseSize(value);
  if (!(found > 0)) throw bad(text, `${what} must be more than 0`);
  return found;
}

/** @throws DomusError E_USAGE */
export function parseDiskSpec(text: string): DiskSpec {
  const fields: Fields = {};
  const set = <Key extends keyof Fields>(key: Key, value: Fields[Key]) => {
    if (fields[key] !== undefined)
      throw bad(text, `it says twice what ${key === 'path' ? 'the file' : key} is`);
    fields[key] = value;
  };
  // As in xl, what follows target= is the file's name, whatever it contains.
  const target = /(?:^|,)\s*target=(.*)$/.exec(text);
  if (target) set('path', target[1] as string);
  const rest = target ? text.slice(0, target.index) : text;
  for (const [i, part] of rest.split(',').entries()) {
    const word = part.trim();
    if (word === '') continue;
    const equals = word.indexOf('=');
    const isFile = i === 0 && !target && (equals < 0 || word.slice(0, equals).includes('/'));
    if (isFile) set('path', word);
    else if (equals < 0) bare(text, word, set);
    else named(text, word.slice(0, equals), word.slice(equals + 1), set);
  }
  if (!fields.path) throw bad(text, 'it names no file');
  return { ...fields, path: fields.path };
}

type Setter = <Key extends keyof Fields>(key: Key, value: Fields[Key]) => void;

function bare(text: string, word: string, set: Setter): void {
  if (word in ACCESS) set('isReadOnly', ACCESS[word]);
  else if (word === 'vpc' || (IMAGE_FORMATS as readonly string[]).includes(word))
    set('format', parseImageFormat(word));
  else if (vdevNumber(word) !== undefined) set('device', word);
  else throw bad(text, `"${word}" means nothing here`);
}

function named(text: string, key: string, value: string, set: Setter): void {
  switch (key) {
    case 'format':
      set('format', parseImageFormat(value));
      return;
    case 'dev':
    case 'vdev':
      if (vdevNumber(value) === undefined)
        throw bad(text, `there is no device ${value}; names are xvda, xvdb, ...`);
      set('device', value);
      return;
    case 'access':
      if (!(value in ACCESS)) throw bad(text, `access is ro or rw, not ${value}`);
      set('isReadOnly', ACCESS[value]);
      return;
    case 'depth':
      set('queueDepth', count(text, key, value));
      return;
    case 'iops':
      set('requestsPerSecond', count(text, key, value));
      return;
    case 'bps':
      set('bytesPerSecond', count(text, key, value));
      return;
    default:
      throw bad(text, `there is no setting ${key}`);
  }
}

export interface NamedDisk extends DiskSpec {
  readonly device: string;
  readonly devid: number;
}

/** Give every disk its device. @throws DomusError E_USAGE when two want the same */
export function nameDisks(
  specs: readonly (DiskSpec | string)[],
  taken: ReadonlySet<string> = new Set(),
): NamedDisk[] {
  const disks = specs.map(spec => (typeof spec === 'string' ? parseDiskSpec(spec) : spec));
  const used = new Set(taken);
  for (const { device, path } of disks) {
    if (device === undefined) continue;
    if (used.has(device)) throw bad(path, `${device} is another disk already`);
    used.add(device);
  }
  return disks.map(disk => {
    let device = disk.device;
    for (let i = 0; device === undefined; i++) if (!used.has(vdevName(i))) device = vdevName(i);
    used.add(device);
    const devid = vdevNumber(device);
    if (devid === undefined) throw bad(disk.path, `there is no device ${device}; names are xvda, xvdb, ...`);
    return { ...disk, device, devid };
  });
}
