/** What a host process may be doing when it is killed, and what its guests may be afterwards. */
import type { Daemon } from '../src/toolstack/daemon/client.ts';
import { newSnapshotPath } from '../src/toolstack/snapshots.ts';

/** Instead of a state: there is no such guest. */
export const NONE = 'none';
/** What each guest may be for the next host process. */
export type Fates = Map<string, Set<string>>;

export interface Duty {
  readonly what: string;
  /** A saved machine that it makes. */
  readonly saves?: string;
  ask(daemon: Daemon): Promise<unknown>;
  /** @param isDone it was reported as done before the end */
  settle(isDone: boolean, fates: Fates): void;
}

/** Guests that are made: they ran if that was reported, and may have done so otherwise. */
const made =
  (...names: string[]) =>
  (isDone: boolean, fates: Fates) => {
    for (const name of names) fates.set(name, new Set(isDone ? ['lost'] : ['lost', NONE]));
  };
/** A guest that is there gets another fate. */
const becomes = (name: string, fate: string) => (isDone: boolean, fates: Fates) => {
  if (isDone) fates.set(name, new Set([fate]));
  else fates.get(name)?.add(fate);
};

const snapshot = (stateFolder: string, guest: string, name: string): Duty => ({
  what: `snapshot of ${guest}`,
  saves: name,
  ask: async daemon => daemon.save(guest, await newSnapshotPath(name, stateFolder), false),
  settle: () => {},
});

/** Of a guest `worker`: each is the end of it under this name. */
export const ends = (file: string): readonly Duty[] => [
  {
    what: 'save',
    saves: file,
    ask: daemon => daemon.save('worker', file, true),
    settle: becomes('worker', 'exited'),
  },
  { what: 'destroy', ask: daemon => daemon.destroy('worker'), settle: becomes('worker', NONE) },
  {
    what: 'rename',
    ask: daemon => daemon.change('worker', { name: 'renamed' }),
    settle(isDone, fates) {
      becomes('worker', NONE)(isDone, fates);
      made('renamed')(isDone, fates);
    },
  },
];

/** Of guests `worker` and `writer`, the second with a disk, and a snapshot. */
export const others = (stateFolder: string, warm: string): readonly Duty[] => [
  snapshot(stateFolder, 'writer', 'of-writer'),
  snapshot(stateFolder, 'worker', 'of-worker'),
  {
    what: 'clones of worker',
    ask: daemon => daemon.clone('worker', { count: 2, name: 'copy' }),
    settle: made('copy-1', 'copy-2'),
  },
  {
    what: 'clone of writer',
    ask: daemon => daemon.clone('writer', { name: 'twin' }),
    settle: made('twin'),
  },
  {
    what: 'restore',
    ask: daemon => daemon.create({ name: 'again', from: warm }),
    settle: made('again'),
  },
  {
    what: 'boot',
    ask: daemon => daemon.create({ name: 'new', command: ['sleep', '100000'] }),
    settle: made('new'),
  },
];
