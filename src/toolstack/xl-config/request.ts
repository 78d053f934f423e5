/** What a configuration of xl's asks the host process for. */
import { DomusError } from '../../base/errors.ts';
import type { DomainEndAction } from '../config.ts';
import type { GuestRequest } from '../daemon/guest-request.ts';
import type { NetworkOptions } from '../network.ts';
import { xlDisk, xlNetwork } from './devices.ts';
import { IGNORED, REFUSED } from './keys.ts';
import type { XlConfig } from './parse.ts';
import { XlValues } from './values.ts';

export interface XlRequest {
  readonly request: GuestRequest;
  /** What has no effect, each with its line. */
  readonly warnings: readonly string[];
}

const MIB = 2 ** 20;

/** xl's actions, those that keep something (a core, a dead domain) as what they are without it. */
const ACTIONS: Readonly<Record<string, readonly [action: DomainEndAction, lost?: string]>> = {
  destroy: ['destroy'],
  restart: ['restart'],
  'rename-restart': ['restart', 'the old domain is not kept'],
  preserve: ['destroy', 'its record and log stay, its memory does not'],
  'coredump-destroy': ['destroy', 'no core is dumped'],
  'coredump-restart': ['restart', 'no core is dumped'],
};

function checkType(values: XlValues): void {
  const type = values.text('type') ?? values.text('builder') ?? (values.flag('pvh') ? 'pvh' : undefined);
  if (type === undefined || type === 'pvh') return;
  const key = values.has('type') ? 'type' : 'builder';
  if (type === 'generic' || type === 'linux') {
    values.warn(key, 'the guest is of type "pvh"');
    return;
  }
  if (type === 'pv' || type === 'hvm') {
    values.refuse(
      key,
      `guests of type "${type}" are not there`,
      'use type="pvh": a Linux kernel from 4.11 on boots so, from the same disks',
    );
  }
  values.refuse(key, `there is no type "${type}"`, 'use type="pvh"');
}

function actionOf(values: XlValues, key: string): DomainEndAction | undefined {
  const text = values.text(key);
  if (text === undefined) return undefined;
  const found = Object.hasOwn(ACTIONS, text) ? ACTIONS[text] : undefined;
  if (!found) return values.refuse(key, `there is no action "${text}"`, 'use "destroy" or "restart"');
  if (found[1]) values.warn(key, `"${text}" is "${found[0]}": ${found[1]}`);
  return found[0];
}

/** The kernel's command line: `cmdline`, or `root` and `extra`. */
function commandLine(values: XlValues): string | undefined {
  const [whole, root, extra] = [values.text('cmdline'), values.text('root'), values.text('extra')];
  if (whole !== undefined) {
    if (root !== undefined) values.warn('root', 'cmdline says it all');
    if (extra !== undefined) values.warn('extra', 'cmdline says it all');
    return whole;
  }
  const line = [root !== undefined ? `root=${root}` : '', extra ?? ''].filter(Boolean).join(' ');
  return line === '' ? undefined : line;
}

function memory(values: XlValues): Pick<GuestRequest, 'memory' | 'maxMemory' | 'minMemory'> {
  const [most, least] = [values.number('maxmem'), values.number('minmem')];
  const now = values.number('memory') ?? most;
  if (now === undefined) return least === undefined ? {} : { minMemory: least * MIB };
  if (most !== undefined && most < now) values.refuse('maxmem', 'is less than memory', 'leave it out');
  if (least !== undefined && least > now) values.refuse('minmem', 'is more than memory', 'choose less');
  return {
    memory: now * MIB,
    ...(most !== undefined && most > now && { maxMemory: most * MIB }),
    ...(least !== undefined && { minMemory: least * MIB }),
  };
}

function processors(
  values: XlValues,
): Pick<GuestRequest, 'vcpus' | 'maxVcpus' | 'pcpus' | 'cpus' | 'weight' | 'cap'> {
  const most = values.number('maxvcpus');
  const now = values.number('vcpus') ?? most;
  if (now !== undefined && most !== undefined && most < now)
    values.refuse('maxvcpus', 'is less than vcpus', 'leave it out');
  const cpus = values.texts('cpus');
  const [weight, cap] = [values.number('cpu_weight'), values.number('cap')];
  const pcpus = values.number('pcpus');
  return {
    ...(now !== undefined && { vcpus: now }),
    ...(most !== undefined && now !== undefined && most > now && { maxVcpus: most }),
    ...(cpus.length > 0 && { cpus: cpus.length === 1 ? cpus[0]! : cpus }),
    ...(pcpus !== undefined && { pcpus }),
    ...(weight !== undefined && { weight }),
    ...(cap !== undefined && { cap }),
  };
}

function network(values: XlValues): NetworkOptions | undefined {
  const interfaces = values.texts('vif');
  if (interfaces.length > 1) {
    values.refuse(
      'vif',
      `${interfaces.length} interfaces are more than the one that a guest can have`,
      'keep one',
    );
  }
  return interfaces.map(text => xlNetwork(text, what => values.warn('vif', what)))[0];
}

/** Its kernel is the user's, or the first disk is booted with ours. */
function boots(values: XlValues, absolute: (path: string) => string): Partial<GuestRequest> {
  const [kernel, initrd] = [values.text('kernel'), values.text('ramdisk')];
  if (kernel === undefined) {
    if (initrd !== undefined) values.refuse('ramdisk', 'belongs to a kernel', 'name the kernel as well');
    return { boot: true };
  }
  return {
    kernel: absolute(kernel),
    ...(initrd !== undefined && { initrd: absolute(initrd) }),
    isOwn: true,
  };
}

/** @throws DomusError E_XL_CONFIG and what the values themselves are refused with */
export function xlRequest(config: XlConfig, absolute: (path: string) => string): XlRequest {
  const values = new XlValues(config);
  checkType(values);
  for (const [key, why] of REFUSED) {
    if (values.texts(key).length > 0) values.refuse(key, why, 'leave it out, or run the guest without it');
  }
  const name = values.text('name') ?? missingName();
  const uuid = values.text('uuid');
  const append = commandLine(values);
  const net = network(values);
  const disks = values.texts('disk').map(text => {
    const spec = xlDisk(text, what => values.warn('disk', what));
    return { ...spec, path: absolute(spec.path) };
  });
  const [onPoweroff, onReboot, onCrash] = [
    actionOf(values, 'on_poweroff'),
    actionOf(values, 'on_reboot') ?? 'restart',
    actionOf(values, 'on_crash'),
  ] as const;
  const request: GuestRequest = {
    name,
    ...(uuid !== undefined && { uuid }),
    ...memory(values),
    ...processors(values),
    ...boots(values, absolute),
    ...(append !== undefined && { append }),
    ...(disks.length > 0 && { disks }),
    network: net ?? 'none',
    ...(onPoweroff && { onPoweroff }),
    onReboot,
    ...(onCrash && { onCrash }),
  };
  for (const key of values.unknown()) {
    values.warn(key, IGNORED.has(key) ? `has no effect: ${IGNORED.get(key)}` : 'is no key that is known');
  }
  return { request, warnings: values.warnings };
}

function missingName(): never {
  throw new DomusError('E_XL_CONFIG', 'the configuration has no name', 'write name="web"');
}
