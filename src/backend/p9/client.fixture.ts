/** A client of 9P2000.L for tests: builds requests, reads replies. What is answered with an errno is thrown as `Refused`. */
import { MessageReader, MessageWriter } from './codec.ts';
import { NOFID, RLERROR, T } from './protocol.ts';

export class Refused extends Error {
  readonly errno: number;
  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

export type Transact = (message: Uint8Array) => Promise<Uint8Array>;

type Field = number | bigint | string | Uint8Array | readonly string[];

/** A message of fields, each `size:value`: '1' to '8' bytes, 's' string, 'n' names, 'b' bytes with their length before. */
export function encode(type: number, tag: number, format: string, ...fields: Field[]): Uint8Array {
  const data = fields.find(field => field instanceof Uint8Array);
  const writer = new MessageWriter(16_384 + (data?.length ?? 0)).u32(0).u8(type).u16(tag);
  for (const [i, kind] of [...format].entries()) {
    const value = fields[i];
    if (kind === '1') writer.u8(value as number);
    else if (kind === '2') writer.u16(value as number);
    else if (kind === '4') writer.u32(value as number);
    else if (kind === '8') writer.u64(value as bigint | number);
    else if (kind === 's') writer.string(value as string);
    else if (kind === 'n') {
      const names = value as readonly string[];
      writer.u16(names.length);
      for (const name of names) writer.string(name);
    } else {
      const bytes = value as Uint8Array;
      writer.u32(bytes.length);
      writer.room(bytes.length).set(bytes);
    }
  }
  writer.patch32(0, writer.length);
  return writer.bytes.slice(0, writer.length);
}

export interface Stat {
  readonly ino: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly size: number;
  readonly mtimeNs: bigint;
}

export interface Listed {
  readonly name: string;
  readonly type: number;
  readonly cookie: bigint;
}

export class Client {
  readonly #transact: Transact;
  #tag = 0;
  #nextFid = 1;
  messageBytes = 0;

  constructor(transact: Transact) {
    this.#transact = transact;
  }

  async send(type: number, format: string, ...fields: Field[]): Promise<MessageReader> {
    const tag = this.#tag;
    this.#tag = (tag + 1) % 0xffff;
    const reply = await this.#transact(encode(type, tag, format, ...fields));
    const read = new MessageReader(reply);
    const size = read.u32();
    const replyType = read.u8();
    if (size !== reply.length || read.u16() !== tag) throw new Error('not the reply to this request');
    if (replyType === RLERROR) throw new Refused(read.u32());
    if (replyType !== type + 1) throw new Error(`reply ${replyType} to request ${type}`);
    return read;
  }

  newFid(): number {
    return this.#nextFid++;
  }

  async start(messageBytes = 65536, uid = 0): Promise<number> {
    const read = await this.send(T.version, '4s', messageBytes, '9P2000.L');
    this.messageBytes = read.u32();
    return this.attach(uid);
  }
  async attach(uid = 0): Promise<number> {
    const fid = this.newFid();
    await this.send(T.attach, '44ss4', fid, NOFID, 'user', '', uid);
    return fid;
  }
  /** A new fid for what a path leads to. */
  async walk(from: number, path: string): Promise<number> {
    const fid = this.newFid();
    const names = path === '' ? [] : path.split('/');
    const read = await this.send(T.walk, '44n', from, fid, names);
    if (read.u16() !== names.length) throw new Refused(2);
    return fid;
  }
  async clunk(fid: number): Promise<void> {
    await this.send(T.clunk, '4', fid);
  }
  async open(from: number, path: string, flags = 0): Promise<number> {
    const fid = await this.walk(from, path);
    return this.#orClunk(fid, () => this.send(T.lopen, '44', fid, flags));
  }
  async create(folder: number, name: string, { flags = 0o2, mode = 0o644, gid = 0 } = {}): Promise<number> {
    const fid = await this.walk(folder, '');
    return this.#orClunk(fid, () => this.send(T.lcreate, '4s444', fid, name, flags, mode, gid));
  }
  async #orClunk(fid: number, use: () => Promise<unknown>): Promise<number> {
    try {
      await use();
    } catch (error) {
      await this.clunk(fid);
      throw error;
    }
    return fid;
  }
  async read(fid: number, offset: number, count: number): Promise<Uint8Array> {
    const read = await this.send(T.read, '484', fid, offset, count);
    return read.bytes(read.u32()).slice();
  }
  async write(fid: number, offset: number, text: string | Uint8Array): Promise<number> {
    const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
    return (await this.send(T.write, '48b', fid, offset, bytes)).u32();
  }
  async text(fid: number): Promise<string> {
    return new TextDecoder().decode(await this.read(fid, 0, 60000));
  }
  async mkdir(folder: number, name: string, mode = 0o755): Promise<void> {
    await this.send(T.mkdir, '4s44', folder, name, mode, 0);
  }
  async symlink(folder: number, name: string, target: string): Promise<void> {
    await this.send(T.symlink, '4ss4', folder, name, target, 0);
  }
  async mknod(folder: number, name: string, mode: number, major = 0, minor = 0): Promise<void> {
    await this.send(T.mknod, '4s4444', folder, name, mode, major, minor, 0);
  }
  async link(folder: number, fid: number, name: string): Promise<void> {
    await this.send(T.link, '44s', folder, fid, name);
  }
  async rename(from: number, name: string, to: number, newName: string): Promise<void> {
    await this.send(T.renameat, '4s4s', from, name, to, newName);
  }
  async unlink(folder: number, name: string, flags = 0): Promise<void> {
    await this.send(T.unlinkat, '4s4', folder, name, flags);
  }
  async readlink(fid: number): Promise<string> {
    return (await this.send(T.readlink, '4', fid)).string();
  }
  async stat(fid: number): Promise<Stat> {
    const read = await this.send(T.getattr, '48', fid, 0x7ffn);
    read.u64();
    read.u8();
    read.u32();
    const ino = read.u64();
    const [mode, uid, gid] = [read.u32(), read.u32(), read.u32()];
    const [nlink, rdev, size] = [Number(read.u64()), Number(read.u64()), Number(read.u64())];
    for (let i = 0; i < 4; i++) read.u64();
    const mtimeNs = read.u64() * 1_000_000_000n + read.u64();
    return { ino, mode, uid, gid, nlink, rdev, size, mtimeNs };
  }
  async setattr(
    fid: number,
    valid: number,
    { mode = 0, uid = 0, gid = 0, size = 0n, atimeNs = 0n, mtimeNs = 0n } = {},
  ): Promise<void> {
    const parts = (ns: bigint) => [ns / 1_000_000_000n, ns % 1_000_000_000n] as const;
    const times = [...parts(atimeNs), ...parts(mtimeNs)];
    await this.send(T.setattr, '4444488888', fid, valid, mode, uid, gid, size, ...times);
  }
  async readdir(fid: number, offset = 0n, count = 60000): Promise<Listed[]> {
    const read = await this.send(T.readdir, '484', fid, offset, count);
    const bytes = read.bytes(read.u32());
    const found: Listed[] = [];
    for (let at = 0; at < bytes.length; ) {
      const entry = new MessageReader(bytes, at + 13);
      const [cookie, type, name] = [entry.u64(), entry.u8(), entry.string()];
      found.push({ name, type, cookie });
      at += 13 + 8 + 1 + 2 + name.length;
    }
    return found;
  }
  /** All names, but for `.` and `..`, sorted. */
  async list(fid: number): Promise<string[]> {
    const names: string[] = [];
    for (let offset = 0n; ; ) {
      const part = await this.readdir(fid, offset, 500);
      if (part.length === 0) break;
      names.push(...part.map(({ name }) => name));
      offset = part.at(-1)?.cookie as bigint;
    }
    return names.filter(name => name !== '.' && name !== '..').sort();
  }
  async setXattr(fid: number, name: string, value: string, flags = 0): Promise<void> {
    const clone = await this.walk(fid, '');
    try {
      await this.send(T.xattrcreate, '4s84', clone, name, value.length, flags);
      if (value !== '') await this.write(clone, 0, value);
    } finally {
      await this.clunk(clone);
    }
  }
  async getXattr(fid: number, name: string): Promise<string> {
    const value = this.newFid();
    const read = await this.send(T.xattrwalk, '44s', fid, value, name);
    const bytes = await this.read(value, 0, Number(read.u64()));
    await this.clunk(value);
    return new TextDecoder().decode(bytes);
  }
  async lock(fid: number, type: number, start: number, length: number, process: number): Promise<number> {
    const read = await this.send(T.lock, '414884s', fid, type, 0, start, length, process, 'client');
    return read.u8();
  }
}
