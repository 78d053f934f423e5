/**
 * Trails (hypervisor/trail.ts) of saved machines that commands were run from, in the cache: the first such run leaves one, later ones
 * follow it. Those that were used last stay.
 *
 *     trails/<which file the saved machine is>
 */
import type { Domain } from '../hypervisor/hypervisor.ts';
import {
  type ArrivedTrail,
  fetchTrail,
  followTrail,
  type Trail,
  TrailRecorder,
  type TrailRoom,
  takeTrail,
} from '../hypervisor/trail.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { defaultCacheFolder, joinPath } from '../platform/node/cache-folder.ts';
import { programDigest } from '../platform/node/files.ts';
import { listOwnFolder, removeOwnFile, touchFile } from '../platform/node/private-files.ts';
import { fromHex } from '../platform/node/text-codecs.ts';
import { openSaved, type SavedFile, type SavedIdentity } from '../state/file.ts';
import { type OpenTrail, openTrail, trailKey, writeTrail } from '../state/trail-file.ts';

/** Each has some 6 MiB. */
const KEPT = 8;

const trailsFolder = (): string => joinPath(defaultCacheFolder(), 'trails');

const pathOf = ({ file }: SavedIdentity): string => joinPath(trailsFolder(), file);

/** The saved machine at `path` is to go, and what was in its memory. One that cannot be read has no trail. */
export function removeTrailOf(path: string): void {
  let saved: SavedFile;
  try {
    saved = openSaved(path);
  } catch {
    return;
  }
  const identity = saved.identity();
  if (identity) removeOwnFile(pathOf(identity));
  saved.close();
}

/** The trail of one guest: the one that it follows, or leaves. */
export class GuestTrail {
  readonly #key: Uint8Array;
  readonly #path: string;
  #known: OpenTrail | undefined;
  #room: TrailRoom | undefined;
  #arriving: Promise<ArrivedTrail> | undefined;
  #arrived: ArrivedTrail | undefined;
  #domain: Domain | undefined;
  #taken: Trail | undefined;

  private constructor(identity: SavedIdentity) {
    this.#key = trailKey(fromHex(programDigest()), identity);
    this.#path = pathOf(identity);
    this.#known = openTrail(this.#path, this.#key);
    if (this.#known) touchFile(this.#path);
  }

  /** Undefined where nobody can tell what a trail belongs to. */
  static of(saved: SavedFile): GuestTrail | undefined {
    const identity = saved.identity();
    return identity && new GuestTrail(identity);
  }

  /** A machine will be made with this in its memory: other threads bring there what is on the trail. */
  prepare(room: TrailRoom): void {
    this.#room = room;
    if (this.#known) this.#arriving = fetchTrail(this.#known, room);
  }
  /** Resolves, when all of it is there, with the memory; undefined where the machine is to make its own. */
  async arrival(): Promise<MachineMemory | undefined> {
    this.#arrived = await this.#arriving;
    this.close();
    return this.#room?.memory;
  }

  /** The domain has been restored; one thread runs it, and has not begun. @throws DomusError when the saved machine cannot be read */
  begin(domain: Domain): void {
    if (!this.#room) return;
    if (this.#arrived) {
      followTrail(domain, this.#arrived);
      this.#arrived = undefined;
      return;
    }
    this.#domain = domain;
    domain.hypervisor.trail = new TrailRecorder();
  }

  /** What comes now is no beginning any more, and code is no longer as it was decoded. Only the first time counts. */
  end(): void {
    const taken = this.#take();
    if (!taken) return;
    const { code } = taken;
    // The code cache goes on changing: other instructions are decoded, and regions take the place of some.
    this.#taken = { ...taken, code: code && { ...code, bytes: code.bytes.slice() } };
  }
  /** The trail until now, unless there is one already. Its code is good until the guest goes on. */
  #take(): Trail | undefined {
    const domain = this.#domain;
    const { trail, pages } = domain?.hypervisor ?? {};
    if (!domain || !trail || !pages) return undefined;
    domain.hypervisor.trail = undefined;
    return takeTrail(domain, trail.looks, pages);
  }

  /** The guest has done what it was to do: leave its trail, if there was none. Its machine still is there. */
  leave(): void {
    const taken = this.#taken ?? this.#take();
    const pages = this.#domain?.hypervisor.pages;
    if (!taken || !pages) return;
    for (const { name } of listOwnFolder(trailsFolder()).slice(0, -(KEPT - 1)))
      removeOwnFile(joinPath(trailsFolder(), name));
    writeTrail(this.#path, this.#key, taken, (page, into) => pages.read(page, into));
    this.#domain = undefined;
    this.#taken = undefined;
  }

  close(): void {
    const known = this.#known;
    this.#known = undefined;
    // Not while it is read.
    void Promise.resolve(this.#arriving).then(() => known?.close());
  }
}
