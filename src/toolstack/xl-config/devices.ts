/** Disks and network interfaces as xl writes them (xl-disk-configuration(5), xl-network-configuration(5)). */
import { DomusError } from '../../base/errors.ts';
import { type DiskSpec, parseDiskSpec } from '../disk-spec.ts';
import type { NetworkOptions } from '../network.ts';

/** What a device says that has no effect. */
type Warn = (what: string) => void;

const refuse = (text: string, why: string, remedy: string) =>
  new DomusError('E_XL_CONFIG', `"${text}": ${why}`, remedy);

/** Ways to reach an image, which are one here; the last word of `tap:` and `tap2:` is its format. */
const DISK_PREFIX = /^(?:(?:file|phy|qdisk):|(?:tap2?:)(?:tapdisk:)?(?:(aio|raw|vhd|qcow2?|vhdx):)?)/;
const DISK_IGNORED =
  /^(?:backendtype=.*|script=.*|discard|no-discard|direct-io-safe|removable=.*|devtype=disk|specification=.*|transport=.*|trusted=.*|colo.*)$/;

/** @throws DomusError E_XL_CONFIG, E_USAGE */
export function xlDisk(text: string, warn: Warn): DiskSpec {
  const target = /(?:^|,)\s*target=.*$/.exec(text);
  const head = target ? text.slice(0, target.index) : text;
  const kept: string[] = [];
  for (const [i, part] of head.split(',').entries()) {
    let word = part.trim();
    if (/^(?:cdrom|devtype=cdrom|[a-z]+:cdrom)$/.test(word) || word.endsWith(':cdrom')) {
      throw refuse(text, 'there are no CD drives', 'give it as a disk: FILE,raw,xvdb,ro');
    }
    if (/^backend=/.test(word)) {
      throw refuse(text, 'disks are served by Domus, not by another domain', 'leave out backend=');
    }
    if (DISK_IGNORED.test(word)) {
      warn(`${word} has no effect`);
      continue;
    }
    const prefix = i === 0 ? DISK_PREFIX.exec(word) : null;
    if (prefix) {
      word = word.slice(prefix[0].length);
      const format = prefix[1] === 'aio' ? 'raw' : prefix[1];
      if (format) kept.push(`format=${format}`);
    }
    const old = /^(v?dev=)?([hs])(d[a-p]\d*)$/.exec(word);
    if (old) {
      warn(`${old[2]}${old[3]} is seen as xv${old[3]}: guests have Xen's disks only`);
      word = `${old[1] ?? ''}xv${old[3]}`;
    }
    if (word === '!') word = 'rw';
    // A file comes first for the parser, whatever was said before.
    if (i === 0 && !word.includes('=')) kept.unshift(word);
    else if (word !== '') kept.push(word);
  }
  return parseDiskSpec(`${kept.join(',')}${target ? `,${target[0].replace(/^,/, '')}` : ''}`);
}

/** Bridges that lead to the outside where xl is at home. */
const OUTSIDE = new Set(['xenbr0', 'virbr0', 'br0']);
const VIF_IGNORED = new Set([
  'script',
  'type',
  'model',
  'vifname',
  'ip',
  'gatewaydev',
  'devid',
  'trusted',
  'accel',
]);

/** `rate=10Mb/s@20ms`: bits a second; the interval is our own affair. */
function rateOf(text: string, rate: string): number {
  const match = /^(\d+)([KMG]?)([bB])\/s(?:@.*)?$/i.exec(rate);
  if (!match) throw refuse(text, `"${rate}" is no rate`, 'write for example rate=10Mb/s');
  const [, count, unit = '', size] = match;
  const scale = 1000 ** ['', 'K', 'M', 'G'].indexOf(unit.toUpperCase());
  return Number(count) * scale * (size === 'B' ? 8 : 1);
}

/** @throws DomusError E_XL_CONFIG */
export function xlNetwork(text: string, warn: Warn): NetworkOptions {
  let mode = 'nat';
  let options: NetworkOptions = {};
  for (const part of text.split(',')) {
    const word = part.trim();
    if (word === '') continue;
    const equals = word.indexOf('=');
    const [key, value] = equals < 0 ? [word, ''] : [word.slice(0, equals), word.slice(equals + 1)];
    if (key === 'mac') options = { ...options, mac: value };
    else if (key === 'mtu') options = { ...options, mtu: Number(value) };
    else if (key === 'bridge') {
      if (OUTSIDE.has(value)) warn(`bridge=${value} is a NAT to the outside here`);
      else mode = `switch:${value}`;
    } else if (key === 'rate') {
      options = { ...options, faults: { bandwidthBitsPerSecond: rateOf(text, value) } };
    } else if (key === 'backend') {
      throw refuse(text, 'the network is served by Domus, not by another domain', 'leave out backend=');
    } else if (VIF_IGNORED.has(key)) warn(`${key} has no effect`);
    else throw refuse(text, `there is no setting ${key} of a network interface`, 'see docs/xl.md');
  }
  return { ...options, mode };
}
