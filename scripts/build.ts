/**
 * The build: everything that is compiled ahead of time goes to dist/.
 *
 * 1. The layout constants of the runtime module, from the structure descriptions (build/layout-constants.ts).
 * 2. dist/runtime.wasm and dist/rare-runtime.wasm, the AssemblyScript side of the CPU (build/runtime-module.ts).
 * 3. dist/interpreter.wasm and dist/rare-forms.wasm, generated from the instruction table (build/interpreter-module.ts).
 * 4. dist/*.code, what V8 makes of these modules (build/compiled-code.ts).
 * 5. dist/guest-agent, the program that starts commands in guests (build/guest-agent.ts).
 * 6. dist/*.js, the sources as a bundle (build/bundle.ts).
 * 7. dist/web/, the page of `domus web` (build/page.ts).
 *
 * The second, the fourth and the fifth step look at a digest of their inputs first and do nothing when their output is current.
 * `--force` overrides.
 */
import { join } from 'node:path';
import { bundleSources } from './build/bundle.ts';
import { compileModules } from './build/compiled-code.ts';
import { buildGuestAgent } from './build/guest-agent.ts';
import { buildInterpreterModules } from './build/interpreter-module.ts';
import { writeLayoutConstants } from './build/layout-constants.ts';
import { bundlePage } from './build/page.ts';
import { buildRuntimeModule } from './build/runtime-module.ts';

const force = process.argv.includes('--force');
writeLayoutConstants();
await buildRuntimeModule(force);
buildInterpreterModules();
compileModules(join(import.meta.dirname, '../dist'), force);
await buildGuestAgent(force);
await bundleSources(join(import.meta.dirname, '..'));
await bundlePage(join(import.meta.dirname, '..'));
