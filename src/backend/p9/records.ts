/**
 * What a guest has set on files that the host's file system cannot hold for a user without privileges: owners, set-user-id bits,
 * device numbers, extended attributes. Each file that has such has a *record*, a small file in a folder of the shared folder's root
 * that guests do not see. Records are found by inode number, so hard links share one and a rename needs none; the time at which the
 * file was made tells whether the number has been given to another file since. The folder is made with the first record.
 *
 * A record is one line of JSON. It is written over in place, in one system call, and cut behind its line: a host that is killed leaves
 * the old or the new one.
 */
import { type Anchor, FileError, type FileFacts, type FolderFiles } from '../../platform/folder-files.ts';
import type { Clock } from '../../platform/platform.ts';
import { bytesOfText, textOf } from './codec.ts';
import { Errno, Mode } from './protocol.ts';
import { RequestError } from './request.ts';
import { type Steps, wait } from './steps.ts';

export const RECORDS_FOLDER = '.domus-metadata';
/** The extended attributes are what takes room. */
const RECORD_BYTES_MAX = 256 * 1024;
/** Without records, how long that is believed: another process may share the folder. */
const ABSENT_NS = 1e9;

export interface FileRecord {
  uid?: number;
  gid?: number;
  /** Type and permissions, where they are not those of the host's file. */
  mode?: number;
  /** Of a device, as Linux's new_encode_dev counts. */
  rdev?: number;
  /** Values as Latin-1 text. */
  xattrs?: Record<string, string>;
}

const isNumber = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;

/** A record's line as it is on the host, where anybody may have written it. */
function parseRecord(line: string, born: string): FileRecord | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { uid, gid, mode, rdev, xattrs, ...rest } = parsed as Record<string, unknown>;
  if (rest.born !== born) return undefined;
  const record: FileRecord = {};
  if (isNumber(uid)) record.uid = (uid as number) >>> 0;
  if (isNumber(gid)) record.gid = (gid as number) >>> 0;
  if (isNumber(mode)) record.mode = (mode as number) & 0xffff;
  if (isNumber(rdev)) record.rdev = (rdev as number) >>> 0;
  if (typeof xattrs === 'object' && xattrs !== null) {
    const texts = Object.entries(xattrs).filter(([, value]) => typeof value === 'string');
    if (texts.length > 0) record.xattrs = Object.fromEntries(texts) as Record<string, string>;
  }
  return record;
}

const isEmpty = (record: FileRecord): boolean => Object.values(record).every(value => value === undefined);

/** Latin-1 text in JSON is ASCII if the rest is escaped: the file has one byte for each character. */
const encode = (record: FileRecord, born: string): string =>
  `${JSON.stringify({ born, ...record }).replace(/[\x7f-\xff]/g, char => `\\u00${char.charCodeAt(0).toString(16)}`)}\n`;

export interface RecordsOptions {
  readonly files: FolderFiles;
  readonly root: Anchor;
  readonly rootDev: bigint;
  readonly isReadOnly: boolean;
  readonly clock: Pick<Clock, 'monotonicNs'>;
}

export class Records {
  readonly #options: RecordsOptions;
  #folder: Anchor | undefined;
  #absentUntilNs = 0;
  /** Changes that are under way, by record: one after the other. */
  readonly #changes = new Map<string, Promise<unknown>>();

  constructor(options: RecordsOptions) {
    this.#options = options;
  }

  #nameOf({ dev, ino }: Pick<FileFacts, 'dev' | 'ino'>): string {
    // Device numbers change from boot to boot; most files are on the root's.
    return dev === this.#options.rootDev ? ino.toString(16) : `${dev.toString(16)}-${ino.toString(16)}`;
  }

  /** The folder of the records, if there is one. */
  *#find(): Steps<Anchor | undefined> {
    if (this.#folder !== undefined) return this.#folder;
    const { files, root, clock } = this.#options;
    if (clock.monotonicNs() < this.#absentUntilNs) return undefined;
    const facts = yield* wait(files.factsAt(root, RECORDS_FOLDER));
    if (!facts) {
      this.#absentUntilNs = clock.monotonicNs() + ABSENT_NS;
      return undefined;
    }
    return yield* this.#openFolder();
  }

  *#openFolder(): Steps<Anchor> {
    const { files, root } = this.#options;
    const anchor = yield* wait(files.anchor(root, RECORDS_FOLDER));
    const facts = yield* wait(files.facts(anchor));
    if ((facts.mode & Mode.typeMask) !== Mode.directory) {
      // A link or a file: not ours.
      files.release(anchor);
      throw new RequestError(Errno.EIO, `${RECORDS_FOLDER} is no folder`);
    }
    if (this.#folder !== undefined) files.release(anchor);
    else this.#folder = anchor;
    return this.#folder as Anchor;
  }

  *#make(): Steps<Anchor> {
    const known = yield* this.#find();
    if (known !== undefined) return known;
    const { files, root } = this.#options;
    try {
      yield* wait(files.makeFolder(root, RECORDS_FOLDER, 0o700));
    } catch (error) {
      if (!(error instanceof FileError && error.errno === Errno.EEXIST)) throw error;
    }
    return yield* this.#openFolder();
  }

  *find(facts: FileFacts): Steps<FileRecord | undefined> {
    const folder = yield* this.#find();
    if (folder === undefined) return undefined;
    const name = this.#nameOf(facts);
    const { files } = this.#options;
    const found = yield* wait(files.factsAt(folder, name));
    if (!found) return undefined;
    const anchor = yield* wait(files.anchor(folder, name));
    try {
      const { mode, size } = yield* wait(files.facts(anchor));
      if ((mode & Mode.typeMask) !== Mode.regular || size > RECORD_BYTES_MAX) return undefined;
      const file = yield* wait(files.open(anchor, { reads: true, writes: false }));
      try {
        const bytes = new Uint8Array(size);
        const length = yield* wait(file.read(0, bytes));
        const text = textOf(bytes.subarray(0, length));
        return parseRecord(text.slice(0, text.indexOf('\n')), String(facts.bornNs));
      } finally {
        file.close();
      }
    } finally {
      files.release(anchor);
    }
  }

  /**
   * Change a file's record, which is made or removed as needed. The change gets what there is, or nothing, and may be refused by
   * throwing. Changes of one record follow one another.
   */
  *change(facts: FileFacts, apply: (record: FileRecord) => FileRecord): Steps<void> {
    const name = this.#nameOf(facts);
    while (this.#changes.has(name)) yield* wait(this.#changes.get(name));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#changes.set(name, promise);
    try {
      const before = yield* this.find(facts);
      const after = apply({ ...before });
      if (isEmpty(after)) {
        if (before) yield* this.remove(facts);
      } else {
        yield* this.#write(name, encode(after, String(facts.bornNs)));
      }
    } finally {
      this.#changes.delete(name);
      resolve();
    }
  }

  *#write(name: string, line: string): Steps<void> {
    const bytes = bytesOfText(line);
    if (bytes.length > RECORD_BYTES_MAX) throw new RequestError(Errno.ENOSPC, 'a record that is too long');
    const { files } = this.#options;
    const folder = yield* this.#make();
    const mode = { reads: false, writes: true };
    const found = yield* wait(files.factsAt(folder, name));
    if (!found) {
      const file = yield* wait(files.create(folder, name, 0o600, mode));
      try {
        yield* wait(file.write(0, bytes));
      } finally {
        file.close();
      }
      return;
    }
    const anchor = yield* wait(files.anchor(folder, name));
    try {
      const { mode: fileMode } = yield* wait(files.facts(anchor));
      if ((fileMode & Mode.typeMask) !== Mode.regular)
        throw new RequestError(Errno.EIO, 'a record that is no file');
      const file = yield* wait(files.open(anchor, mode));
      try {
        yield* wait(file.write(0, bytes));
        yield* wait(file.resize(bytes.length));
      } finally {
        file.close();
      }
    } finally {
      files.release(anchor);
    }
  }

  /** The file is gone for good. */
  *remove(facts: Pick<FileFacts, 'dev' | 'ino'>): Steps<void> {
    const folder = yield* this.#find();
    if (folder === undefined || this.#options.isReadOnly) return;
    const { files } = this.#options;
    const name = this.#nameOf(facts);
    if (!(yield* wait(files.factsAt(folder, name)))) return;
    yield* wait(files.unlink(folder, name));
  }

  /** Whether there may be records at all. */
  *hasAny(): Steps<boolean> {
    return (yield* this.#find()) !== undefined;
  }

  close(): void {
    if (this.#folder !== undefined) this.#options.files.release(this.#folder);
    this.#folder = undefined;
  }
}
