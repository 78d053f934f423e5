/**
 * Trails (hypervisor/trail.ts) of saved machines that commands were run from, in the cache: the first such run leaves one, later ones
 * follow it. Those that were used last stay.
 *
 *     trails/<hash of the saved machine's header and records, and of this version of Domus>
 */
import type { Domain } from '../hypervisor/hypervisor.ts';
import { followTrail, type Trail, TrailRecorder, takeTrail } from '../hypervisor/trail.ts';
import { defaultCacheFolder, joinPath } from '../platform/node/cache-folder.ts';
import { programText } from '../platform/node/files.ts';
import { sha256 } from '../platform/node/native-codecs.ts';
import { listOwnFolder, removeOwnFile, touchFile } from '../platform/node/private-files.ts';
import { toHex } from '../platform/node/text-codecs.ts';
import { openSaved, type SavedFile } from '../state/file.ts';
import { type OpenTrail, openTrail, writeTrail } from '../state/trail-file.ts';

/** Each has some 6 MiB. */
const KEPT = 8;

const trailsFolder = (): string => joinPath(defaultCacheFolder(), 'trails');

const pathOf = (key: Uint8Array): string => joinPath(trailsFolder(), toHex(key));

function keyOf(saved: SavedFile): Uint8Array {
  const parts = [saved.digest(), ...programText('.').map(sha256)];
  const all = new Uint8Array(parts.length * parts[0]!.length);
  for (const [i, part] of parts.entries()) all.set(part, i * part.length);
  return sha256(all);
}

/** The saved machine at `path` is to go, and what was in its memory. One that cannot be read has no trail. */
export function removeTrailOf(path: string): void {
  let saved: SavedFile;
  try {
    saved = openSaved(path);
  } catch {
    return;
  }
  removeOwnFile(pathOf(keyOf(saved)));
  saved.close();
}

/** The trail of one guest: the one that it follows, or leaves. */
export class GuestTrail {
  readonly #checks: Uint32Array;
  readonly #key: Uint8Array;
  readonly #path: string;
  #known: OpenTrail | undefined;
  #domain: Domain | undefined;
  #taken: Trail | undefined;

  constructor(saved: SavedFile) {
    this.#checks = saved.pages.checks;
    this.#key = keyOf(saved);
    this.#path = pathOf(this.#key);
    this.#known = openTrail(this.#path, this.#key);
    if (this.#known) touchFile(this.#path);
  }

  /** The domain has been restored; one thread runs it, and has not begun. @throws DomusError when the saved machine cannot be read */
  begin(domain: Domain): void {
    if (this.#known) {
      followTrail(domain, this.#known, this.#checks);
      this.close();
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
    this.#known?.close();
    this.#known = undefined;
  }
}
