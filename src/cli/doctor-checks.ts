/** The checks of `domus doctor`. Each looks at one thing and knows what to do when it is missing. */
import { defaultCacheFolder } from '../platform/node/cache-folder.ts';
import {
  canStripTypes,
  complaintAboutFolder,
  deviceAccess,
  findExecutable,
  folderSize,
  freeDiskBytes,
  hostResources,
  runtimeVersion,
} from '../platform/node/host-info.ts';
import { formatSize, MEMORY_DEFAULT_BYTES } from '../toolstack/config.ts';

export interface Check {
  readonly name: string;
  /** fail: needed and missing; warn: something will not work; info: good to know. */
  readonly status: 'ok' | 'warn' | 'fail' | 'info';
  readonly found: string;
  /** What to do; absent when nothing is to be done. */
  readonly remedy?: string;
}

const OLDEST_NODE = 24;

/**
 * Smallest modules that use one WebAssembly feature each, after the 8 bytes of the header. A module that validates
 * proves that the feature is there. (Core specification 2.0; threads and tail-call proposals.)
 */
const FEATURES: readonly (readonly [name: string, body: readonly number[]])[] = [
  // (func (result v128) i32.const 0 i8x16.splat)
  ['SIMD', [1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0, 10, 8, 1, 6, 0, 0x41, 0, 0xfd, 15, 11]],
  // (memory 1 1 shared) (func i32.const 0 i32.atomic.load drop)
  [
    'threads',
    [1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 11, 1, 9, 0, 0x41, 0, 0xfe, 16, 2, 0, 26, 11],
  ],
  // (func return_call 0)
  ['tail calls', [1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 6, 1, 4, 0, 0x12, 0, 11]],
  // (memory 1) (func i32.const 0 i32.const 0 i32.const 0 memory.fill)
  [
    'bulk memory',
    [
      1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 10, 13, 1, 11, 0, 0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 11,
      0, 11,
    ],
  ],
  // (func (result i32) i32.const 0 i32.extend8_s)
  ['sign extension', [1, 5, 1, 0x60, 0, 1, 0x7f, 3, 2, 1, 0, 10, 7, 1, 5, 0, 0x41, 0, 0xc0, 11]],
];

export function missingFeatures(
  validate: (bytes: Uint8Array<ArrayBuffer>) => boolean = WebAssembly.validate,
): string[] {
  const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  return FEATURES.filter(([, body]) => !validate(new Uint8Array([...header, ...body]))).map(([name]) => name);
}

function checkRuntime(): Check {
  const { node, v8, platform, architecture } = runtimeVersion();
  const found = `Node ${node}, V8 ${v8}, ${platform} ${architecture}`;
  if (Number.parseInt(node, 10) >= OLDEST_NODE) return { name: 'runtime', status: 'ok', found };
  const remedy = 'run "npm install --include=optional" in the folder of Domus: it brings its own runtime';
  return { name: 'runtime', status: 'fail', found: `${found}; needs Node ${OLDEST_NODE}`, remedy };
}

function checkSources(): Check {
  if (canStripTypes())
    return { name: 'TypeScript', status: 'ok', found: 'the runtime runs the sources as they are' };
  const remedy = 'leave out --no-strip-types, or run "npm run build"';
  return { name: 'TypeScript', status: 'warn', found: 'the runtime does not strip types', remedy };
}

function checkWebAssembly(): Check {
  const missing = missingFeatures();
  const name = 'WebAssembly';
  if (missing.length === 0) {
    return { name, status: 'ok', found: FEATURES.map(([feature]) => feature).join(', ') };
  }
  const remedy = `use Node ${OLDEST_NODE} or newer, without options that switch WebAssembly features off`;
  return { name, status: 'fail', found: `missing: ${missing.join(', ')}`, remedy };
}

/** Machine memory is reserved in one piece and filled as it is used: address space matters, not free memory. */
function checkAddressSpace(): Check {
  const name = 'machine memory';
  for (const gib of [4, 2, 1]) {
    const pages = gib * 16384;
    try {
      new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    } catch {
      continue;
    }
    if (gib === 4) return { name, status: 'ok', found: '4 GiB can be reserved' };
    const remedy = 'raise the limit of the address space (ulimit -v unlimited) for larger guests';
    return { name, status: 'warn', found: `only ${gib} GiB can be reserved`, remedy };
  }
  const remedy = 'raise the limit of the address space: ulimit -v unlimited';
  return { name, status: 'fail', found: 'not even 1 GiB can be reserved', remedy };
}

function checkHost(): Check[] {
  const { nrCpus, memoryBytes, freeMemoryBytes } = hostResources();
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const memory = `${gib(freeMemoryBytes)} available of ${gib(memoryBytes)}`;
  const cpus: Check = { name: 'processors', status: 'info', found: String(nrCpus) };
  if (freeMemoryBytes >= 2 * MEMORY_DEFAULT_BYTES)
    return [cpus, { name: 'memory', status: 'ok', found: memory }];
  const remedy = `close other programs, or use guests smaller than ${formatSize(MEMORY_DEFAULT_BYTES)} (--memory)`;
  return [cpus, { name: 'memory', status: 'warn', found: memory, remedy }];
}

function checkPackages(): Check {
  const name = 'packages';
  const client = findExecutable('apt-get');
  if (client) return { name, status: 'ok', found: `kernels and userland come through ${client}` };
  return {
    name,
    status: 'warn',
    found: 'there is no apt-get: Domus cannot fetch kernels by itself',
    remedy: 'use local files: domus run --kernel FILE --initrd FILE',
  };
}

async function checkCache(): Promise<Check> {
  const name = 'cache';
  const folder = defaultCacheFolder();
  const complaint = complaintAboutFolder(folder);
  if (complaint !== undefined) {
    return {
      name,
      status: 'fail',
      found: complaint,
      remedy: 'set DOMUS_CACHE to a folder that can be written',
    };
  }
  const freeBytes = freeDiskBytes(folder);
  const size = `${folder}: ${formatSize(await folderSize(folder))}`;
  if (freeBytes !== undefined && freeBytes < CACHE_ROOM_BYTES) {
    const remedy = 'make room, or set DOMUS_CACHE to a folder on another disk';
    return { name, status: 'warn', found: `${size}, only ${formatSize(freeBytes)} free`, remedy };
  }
  return { name, status: 'ok', found: size };
}

/** A kernel package, what is unpacked of it, and some air. */
const CACHE_ROOM_BYTES = 500 * 2 ** 20;

function checkCompiler(): Check {
  const name = 'gcc';
  const gcc = findExecutable('gcc');
  if (gcc) return { name, status: 'info', found: `${gcc}: all tests can run` };
  return {
    name,
    status: 'info',
    found: 'not installed; only some tests of Domus use it',
    remedy: 'apt install gcc libc6-dev libxen-dev, to run every test',
  };
}

function checkKvm(): Check {
  const found = {
    absent: '/dev/kvm does not exist; Domus does not need it',
    usable: '/dev/kvm is there; Domus does not use it',
    denied: '/dev/kvm is there but closed to this user; Domus does not use it',
  }[deviceAccess('/dev/kvm')];
  return { name: 'KVM', status: 'info', found };
}

export async function runChecks(): Promise<Check[]> {
  return [
    checkRuntime(),
    checkSources(),
    checkWebAssembly(),
    checkAddressSpace(),
    ...checkHost(),
    checkPackages(),
    await checkCache(),
    checkCompiler(),
    checkKvm(),
  ];
}
