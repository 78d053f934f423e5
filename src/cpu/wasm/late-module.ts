/**
 * Modules of the engine that are read when something of them is needed first, which in most threads is never: each is a part of another one,
 * which says in a section of its own which it is. They are not sent to threads as the others are; V8 keeps their code once for all of them.
 */
import { DomusError } from '../../base/errors.ts';
import { HeldModule } from '../../platform/node/asset-modules.ts';
import { crc32 } from '../../platform/node/checksum.ts';

/** Names of files in dist/. */
export type LateName = 'rare-forms' | 'rare-runtime';

const known = new Map<LateName, { readonly checksum: string; readonly module: WebAssembly.Module }>();

/** Their files, as they were when this thread got its first engine. */
const held = new Map<LateName, HeldModule>();

/** This thread may need it. */
export function holdLateModule(name: LateName): HeldModule {
  const found = held.get(name) ?? new HeldModule(name);
  held.set(name, found);
  return found;
}

/** A custom section of the module that `late` is a part of. */
export const lateSection = (
  name: LateName,
  late: Uint8Array,
): readonly [name: string, content: Uint8Array] => [
  `domus.${name}`,
  new TextEncoder().encode(String(crc32(late))),
];

/**
 * @param whole what it is a part of
 * @throws DomusError E_STALE_BUILD when the file held is of another build
 */
export function lateModule(name: LateName, whole: WebAssembly.Module): WebAssembly.Module {
  const [section] = WebAssembly.Module.customSections(whole, `domus.${name}`);
  const wanted = new TextDecoder().decode(section);
  const before = known.get(name);
  if (before?.checksum === wanted) return before.module;
  const late = holdLateModule(name);
  const bytes = late.read();
  if (String(crc32(bytes)) !== wanted)
    throw new DomusError(
      'E_STALE_BUILD',
      'dist/ was built anew while a machine was running, which needs a part of the old one',
      'start it again',
    );
  const module = late.compile(bytes);
  known.set(name, { checksum: wanted, module });
  return module;
}
