/**
 * The module with the handlers of rare forms (rare-forms.ts), for the thread that has met one. It is not sent to threads as the others are:
 * each reads it when it needs it, which most never do. V8 keeps its code once for all of them.
 */
import { DomusError } from '../../base/errors.ts';
import { assetModule } from '../../platform/node/asset-modules.ts';
import { crc32 } from '../../platform/node/checksum.ts';
import { readAsset } from '../../platform/node/files.ts';
import { RARE_SECTION } from './pseudo.ts';

const NAME = 'rare-forms';
let known: { readonly checksum: string; readonly module: WebAssembly.Module } | undefined;

/** @throws DomusError E_STALE_BUILD when dist/ has been built anew since the interpreter was loaded */
export function rareModule(interpreter: WebAssembly.Module): WebAssembly.Module {
  const [section] = WebAssembly.Module.customSections(interpreter, RARE_SECTION);
  const wanted = new TextDecoder().decode(section);
  if (known?.checksum === wanted) return known.module;
  const bytes = readAsset(`${NAME}.wasm`);
  if (String(crc32(bytes)) !== wanted)
    throw new DomusError(
      'E_STALE_BUILD',
      'dist/ was built anew while a machine was running, which needs a part of the old one',
      'start it again',
    );
  known = { checksum: wanted, module: assetModule(NAME, bytes).module };
  return known.module;
}
