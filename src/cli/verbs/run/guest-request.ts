/** `domus run -d`: what the options ask the host process for. */
import { withAbsolutePath } from '../../../image/reference.ts';
import { absolutePath, fileExists } from '../../../platform/node/cache-folder.ts';
import type { GuestRequest } from '../../../toolstack/daemon/guest-request.ts';
import { spelling } from '../../options.ts';
import { usage } from '../../usage.ts';
import { labelsOf } from '../labels.ts';
import { type Chosen, chooseCommand, chooseNetwork } from './choices.ts';
import { options, type RunValues } from './options.ts';

/** What a guest that stays is made of; refuses what needs this process to stay with it. */
export function detachedRequest(values: RunValues, chosen: Chosen): GuestRequest {
  const bound = (['interactive', 'tty', 'timeout', 'console', 'deterministic', 'gdb', 'trace'] as const).find(
    key => values[key] !== undefined && values[key] !== false,
  );
  if (bound) throw usage(`${spelling(options[bound])} cannot be used with -d`, 'leave out one of them');
  const network = chooseNetwork(values);
  return {
    name: values.name,
    // The host process has a working folder of its own.
    ...(chosen.image !== undefined && { image: withAbsolutePath(chosen.image, absolutePath) }),
    command: chooseCommand(values, chosen, false),
    env: Object.fromEntries(values.env),
    memory: values.memory,
    minMemory: values.minMemory,
    maxMemory: values.maxMemory,
    vcpus: values.vcpus,
    pcpus: values.pcpus,
    engine: values.engine,
    append: values.append,
    boot: values.boot,
    onReboot: values.onReboot,
    kernel:
      values.kernel !== undefined && fileExists(values.kernel) ? absolutePath(values.kernel) : values.kernel,
    initrd: values.initrd === undefined ? undefined : absolutePath(values.initrd),
    disks: values.disk.map(disk => ({ ...disk, path: absolutePath(disk.path) })),
    folders: values.volume.map(folder => ({ ...folder, path: absolutePath(folder.path) })),
    ...(network && {
      network: { ...network, ...(values.capture !== undefined && { capture: absolutePath(values.capture) }) },
    }),
    ...labelsOf(values.label),
    isRemovedAtEnd: values.remove,
  };
}
