/**
 * What a client asks for when it creates a guest: the options of a machine as JSON, and the command. Files are named by absolute
 * paths, since the host process has a working folder of its own.
 */
import { DomusError } from '../../base/errors.ts';
import { parseReference } from '../../image/reference.ts';
import {
  checkCap,
  checkEndAction,
  checkEngine,
  checkMemory,
  checkMinMemory,
  checkPcpus,
  checkUuid,
  checkVcpus,
  checkWeight,
  MEMORY_DEFAULT_BYTES,
} from '../config.ts';
import type { DiskSpec } from '../disk-spec.ts';
import type { FolderSpec } from '../folder-spec.ts';
import type { MachineOptions } from '../machine-options.ts';
import type { NetworkOptions } from '../network.ts';

export interface GuestRequest {
  /** Default: `guest-` and its number. */
  readonly name?: string;
  /** What its root is made of (src/image/reference.ts). */
  readonly image?: string;
  /** With an image: the words for its entry point; without any it runs what it says itself. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly memory?: number;
  /** What memory and the number of vCPUs can be raised to while it runs. */
  readonly maxMemory?: number;
  /** Its memory goes by need, and is not less than this. */
  readonly minMemory?: number;
  readonly vcpus?: number;
  readonly maxVcpus?: number;
  readonly pcpus?: number;
  readonly engine?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  /** A saved machine to go on from; its memory and vCPUs are what it has. */
  readonly from?: string;
  /** Boot the root's own init; there is no command then. */
  readonly boot?: boolean;
  /** Nothing of ours runs in it: a kernel of the user's own, with or without an initrd. */
  readonly isOwn?: boolean;
  readonly onPoweroff?: string;
  readonly onReboot?: string;
  readonly onCrash?: string;
  /** Built and not started. */
  readonly isPaused?: boolean;
  /** Default: a new one. */
  readonly uuid?: string;
  /** Words of the user's, to find guests by. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Of the credit scheduler. */
  readonly weight?: number;
  readonly cap?: number;
  /** pCPUs that its vCPUs may run on, for all of them or one by one: `0-1`, `all`. */
  readonly cpus?: string | readonly string[];
  /** A guest of this name that has ended is forgotten first. */
  readonly replacesEnded?: boolean;
  readonly network?: string | NetworkOptions;
  readonly disks?: readonly DiskSpec[];
  /** Folders of the host. */
  readonly folders?: readonly FolderSpec[];
  /** Forget the guest as soon as it has ended. */
  readonly isRemovedAtEnd?: boolean;
}

const TEXTS = [
  ...(['name', 'image', 'engine', 'kernel', 'initrd', 'append', 'from', 'uuid'] as const),
  ...(['onPoweroff', 'onReboot', 'onCrash'] as const),
] as const;
const TRUTHS = ['boot', 'isOwn', 'isPaused', 'isRemovedAtEnd', 'replacesEnded'] as const;

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

const bad = (what: string) => new DomusError('E_API_REQUEST', `the request is not understood: ${what}`);

/** @throws DomusError E_GUEST_NAME */
export function checkName(name: string): string {
  // A number alone would be taken for an ID.
  if (NAME.test(name) && !/^\d+$/.test(name)) return name;
  throw new DomusError(
    'E_GUEST_NAME',
    `"${name}" cannot be the name of a guest`,
    'use letters, digits, dots, dashes and underscores, and not digits alone',
  );
}

export const isStringArray = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every(each => typeof each === 'string');
export const isStringRecord = (value: unknown): value is Record<string, string> =>
  typeof value === 'object' && value !== null && Object.values(value).every(each => typeof each === 'string');

/** @throws DomusError E_API_REQUEST, and what the values themselves are refused with */
export function parseGuestRequest(value: unknown): GuestRequest {
  if (typeof value !== 'object' || value === null) throw bad('it is no object');
  const request = value as GuestRequest;
  for (const key of TEXTS) {
    if (request[key] !== undefined && typeof request[key] !== 'string') throw bad(`${key} is no text`);
  }
  for (const key of TRUTHS) {
    if (request[key] !== undefined && typeof request[key] !== 'boolean')
      throw bad(`${key} is no truth value`);
  }
  if (request.from !== undefined && !request.from.startsWith('/')) throw bad('from is no absolute path');
  for (const key of ['kernel', 'initrd'] as const) {
    if (request[key]?.includes('/') && !request[key].startsWith('/')) throw bad(`${key} is no absolute path`);
  }
  if (request.image !== undefined) {
    const reference = parseReference(request.image);
    if ('path' in reference && !reference.path.startsWith('/')) throw bad('image has no absolute path');
  }
  if (request.command !== undefined && !isStringArray(request.command))
    throw bad('command is no list of texts');
  for (const key of ['env', 'labels'] as const) {
    if (request[key] !== undefined && !isStringRecord(request[key]))
      throw bad(`${key} is no object of texts`);
  }
  for (const key of ['disks', 'folders'] as const) {
    if (request[key] !== undefined && !Array.isArray(request[key])) throw bad(`${key} is no list`);
  }
  if (request.name !== undefined) checkName(request.name);
  if (request.memory !== undefined) checkMemory(request.memory);
  if (request.vcpus !== undefined) checkVcpus(request.vcpus);
  if (request.pcpus !== undefined) checkPcpus(request.pcpus);
  if (request.engine !== undefined) checkEngine(request.engine);
  for (const key of ['onPoweroff', 'onReboot', 'onCrash'] as const) {
    if (request[key] !== undefined) checkEndAction(request[key]);
  }
  if (request.maxMemory !== undefined) checkMemory(request.maxMemory);
  if (request.minMemory !== undefined)
    checkMinMemory(request.minMemory, request.memory ?? MEMORY_DEFAULT_BYTES);
  if (request.maxVcpus !== undefined) checkVcpus(request.maxVcpus);
  if (request.weight !== undefined) checkWeight(request.weight);
  if (request.cap !== undefined) checkCap(request.cap, request.maxVcpus ?? request.vcpus ?? 1);
  if (request.uuid !== undefined) checkUuid(request.uuid);
  if (request.cpus !== undefined && typeof request.cpus !== 'string' && !isStringArray(request.cpus))
    throw bad('cpus is neither a text nor a list of texts');
  if (request.boot && request.command !== undefined) throw bad('boot leaves no room for a command');
  if (request.isOwn && request.command !== undefined) throw bad('a guest of its own runs no command');
  const { command, image, initrd, boot, from, isOwn } = request;
  const hasOwn = image !== undefined || initrd !== undefined || from !== undefined || boot || isOwn;
  if (command === undefined && !hasOwn) {
    throw new DomusError(
      'E_NO_COMMAND',
      'there is nothing to run',
      'give a command, an image, a saved machine, or an initrd of your own',
    );
  }
  return request;
}

export function machineOptions(request: GuestRequest): MachineOptions {
  const { image, memory, vcpus, pcpus, engine, kernel, initrd, append, network, disks, folders } = request;
  const { maxMemory, minMemory, maxVcpus, weight, cap, uuid, isOwn, isPaused, boot, from } = request;
  const actions = Object.fromEntries(
    (['onPoweroff', 'onReboot', 'onCrash'] as const).flatMap(key =>
      request[key] === undefined ? [] : [[key, checkEndAction(request[key])]],
    ),
  );
  return {
    ...{ image, memory, vcpus, pcpus, engine, kernel, initrd, append, network, disks, folders },
    ...{ maxMemory, minMemory, maxVcpus, weight, cap, uuid, isOwn, isPaused },
    ...actions,
    ...(boot && { boot }),
    ...(from !== undefined && { from }),
  };
}
