/**
 * What the words of a `domus run` come to together: which image, which command, which network. What contradicts itself is refused before
 * anything is fetched.
 */
import { DomusError } from '../../../base/errors.ts';
import { looksLikeImage, parseReference } from '../../../image/reference.ts';
import { chosenMode, type NetworkOptions } from '../../../toolstack/network.ts';
import { spelling } from '../../options.ts';
import { usage } from '../../usage.ts';
import { options, type RunValues } from './options.ts';

export interface Chosen {
  readonly image: string | undefined;
  readonly command: readonly string[];
}

/**
 * The first operand is an image when it stands before any `--` and has a colon, as `debian:12` has and the names of commands have
 * not. A `--` behind it is the end of our words.
 */
export function chooseImage(operands: readonly string[], isAfterDashes: boolean): Chosen {
  const [first, ...rest] = operands;
  if (first === undefined || isAfterDashes || !looksLikeImage(first))
    return { image: undefined, command: operands };
  parseReference(first);
  return { image: first, command: rest[0] === '--' ? rest.slice(1) : rest };
}

/** What to run; a terminal and no COMMAND means a shell. */
export function chooseCommand(
  values: RunValues,
  { image, command: operands }: Chosen,
  hasTerminal: boolean,
): readonly string[] | undefined {
  if (values.boot && operands.length > 0) {
    throw usage(
      '--boot runs no COMMAND instead of the init',
      'leave out one of them, or run it in a guest that stays: domus run -d --boot, domus exec',
    );
  }
  if (operands.length > 0) return operands;
  if (image !== undefined || values.boot) return undefined;
  if (values.initrd !== undefined) return undefined;
  if (hasTerminal) return ['/bin/sh'];
  throw new DomusError(
    'E_NO_COMMAND',
    'there is nothing to run',
    'give a COMMAND, for example: domus run -- uname -a',
  );
}

/** A saved machine is what it is. */
export function checkFrom(values: RunValues, { image }: Chosen): void {
  if (values.from === undefined) return;
  const given = (
    [
      'memory',
      'minMemory',
      'maxMemory',
      'vcpus',
      'kernel',
      'initrd',
      'append',
      'boot',
      'net',
      'deterministic',
    ] as const
  ).find(key => values[key] !== undefined && values[key] !== false);
  const other = given
    ? spelling(options[given])
    : values.disk.length > 0
      ? '--disk'
      : values.volume.length > 0
        ? '--volume'
        : image;
  if (other !== undefined) throw usage(`${other} cannot be used with --from`, 'leave out one of them');
}

/** What the options say about the network; nothing if they say nothing. */
export function chooseNetwork(values: RunValues): NetworkOptions | undefined {
  const chosen: NetworkOptions = {
    ...(values.net !== undefined && { mode: values.net }),
    ...(values.publish.length > 0 && { publish: values.publish }),
    ...(values.allow.length > 0 && { allow: values.allow }),
    ...(values.deny.length > 0 && { deny: values.deny }),
    ...(values.capture !== undefined && { capture: values.capture }),
    ...(values.netFault && { faults: values.netFault.faults, faultSeed: values.netFault.seed }),
    ...(values.mtu !== undefined && { mtu: values.mtu }),
  };
  const isNone = chosenMode(chosen).kind === 'none';
  const given = Object.keys(chosen).filter(key => key !== 'mode');
  if (isNone && given.length > 0)
    throw usage('--net none leaves nothing to set', 'leave out the other network options');
  return Object.keys(chosen).length > 0 ? chosen : undefined;
}
