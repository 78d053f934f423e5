/**
 * Which file each chunk of the program goes to. esbuild makes one of the modules that the same entry points lead to, and that is each `import()`: they are
 * many, and some are small, so those that are needed together become a file.
 */
import { basename } from 'node:path';
import type { Metafile } from 'esbuild';

/** The file that is loaded first. */
export const PROGRAM = 'program';
/** Entry points by file: what a guest in this process needs, and what the client of another process does. */
const MAIN = ['src/cli/main.ts'];
const RUN = ['src/cli/verbs/run.ts'];
const HOST = ['src/toolstack/host.ts', 'src/toolstack/parts.ts'];
const VERBS = [
  'src/cli/verbs/index.ts',
  'src/cli/help.ts',
  'src/cli/verbs/not-there.ts',
  'src/cli/verbs/run-detached.ts',
  'src/toolstack/snapshots.ts',
];
/** All that is named neither above nor here has a file of its own. */
const SELDOM: Readonly<Record<string, readonly string[]>> = {
  boot: ['part:boot', 'src/toolstack/plan-boot.ts'],
  folders: ['part:folders', 'src/backend/p9/shared-folder.ts', 'src/platform/node/folder-files.ts'],
};
/** What several of these import. */
const SHARED = 'shared';

export const chunkOf = (path: string): string => basename(path, '.js');

/** Chunks that some sources lead to without an `import()`. */
class Entries {
  readonly #outputs: Metafile['outputs'];
  readonly #left = new Map<string, string>();

  constructor({ outputs }: Metafile) {
    this.#outputs = outputs;
    for (const [path, { entryPoint }] of Object.entries(outputs))
      if (entryPoint) this.#left.set(entryPoint, path);
  }

  take(sources: readonly string[]): ReadonlySet<string> {
    const found = new Set<string>();
    for (const source of sources) {
      const path = this.#left.get(source);
      if (path === undefined) throw new Error(`nothing imports ${source} when it is needed`);
      this.#left.delete(source);
      this.#add(path, found);
    }
    return found;
  }

  /** Those that nobody has taken. */
  get left(): readonly string[] {
    return [...this.#left.keys()];
  }

  #add(path: string, found: Set<string>): void {
    if (found.has(path)) return;
    found.add(path);
    for (const { path: other, kind } of this.#outputs[path]?.imports ?? [])
      if (kind === 'import-statement' && this.#outputs[other]) this.#add(other, found);
  }
}

/** @returns the file of each chunk, in the order of esbuild's */
export function filesOf(metafile: Metafile): ReadonlyMap<string, string> {
  const entries = new Entries(metafile);
  const files = new Map<string, string>();
  const place = (paths: Iterable<string>, file: string) => {
    for (const path of paths) if (!files.has(path)) files.set(path, file);
  };
  place(entries.take(MAIN), PROGRAM);
  place(entries.take(RUN), 'common');
  const [host, verbs] = [entries.take(HOST), entries.take(VERBS)];
  // What starts no guest does not load what runs one.
  place(host.intersection(verbs), 'common');
  place(host, 'host');
  const seldom = [
    ['verbs', verbs] as const,
    ...Object.entries(SELDOM).map(([file, sources]) => [file, entries.take(sources)] as const),
    ...entries.left.map(
      source => [basename(source, '.ts').replace('part:', ''), entries.take([source])] as const,
    ),
  ];
  const always = new Set(files.keys());
  for (const [file, paths] of seldom)
    for (const path of paths) if (!always.has(path)) files.set(path, files.has(path) ? SHARED : file);
  return new Map([...files].map(([path, file]) => [chunkOf(path), file]));
}
