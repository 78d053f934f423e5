/**
 * The form in which xenstore is saved: the whole tree, and for each connected domain its watches, its open transactions
 * and what is half-way between it and xenstore. The ring pages themselves are machine memory and saved with it.
 *
 * A transaction open at that moment does not keep its snapshot: after the restore it can go on, and its commit is
 * EAGAIN, which every client must expect. Watches of clients in this process are not kept; their owners set them anew.
 *
 * Layout, version 1: magic, version, generation, tree, domains; see the functions below for the order of the fields.
 */
import type { ConnectionBuffers } from './connection.ts';
import { Access, areSame, type Permission, type Permissions } from './permissions.ts';
import { RecordReader, RecordWriter } from './record.ts';
import type { Watch } from './session.ts';
import { NO_CHILDREN, type Node } from './tree.ts';
import { EMPTY, PAYLOAD_MAX } from './wire.ts';

/** `DXSS` */
const MAGIC = 0x53535844;
const VERSION = 1;
/** Paths are at most 3072 bytes long, so no tree of ours is deeper. */
const DEPTH_MAX = 1600;
const HEADER_BYTES = 16;

export interface DomainSnapshot {
  readonly domid: number;
  readonly target: number | undefined;
  readonly shutdown: boolean;
  readonly watches: readonly Watch[];
  readonly transactionIds: readonly number[];
  readonly buffers: ConnectionBuffers;
}

export interface Snapshot {
  readonly top: Node;
  readonly generation: number;
  readonly domains: readonly DomainSnapshot[];
}

function writeNode(to: RecordWriter, node: Node): void {
  to.u64(node.generation);
  to.list(node.permissions, ({ domid, access }) => {
    to.u32(domid);
    to.u32(access);
  });
  to.bytes(node.value);
  to.list(node.children, ([name, child]) => {
    to.string(name);
    writeNode(to, child);
  });
}

/** @param known permissions of the node above: those of most nodes, and then the same object */
function readNode(from: RecordReader, depth: number, known: Permissions = []): Node {
  if (depth > DEPTH_MAX) from.fail('a tree too deep');
  const generation = from.u64();
  const own = from.list((): Permission => {
    const domid = from.upTo(0xffff);
    return { domid, access: from.upTo(Access.read | Access.write) };
  });
  if (own.length === 0) from.fail('a node without an owner');
  const permissions = areSame(own, known) ? known : own;
  const value = from.bytes();
  const children = from.list((): [string, Node] => {
    const name = from.string();
    return [name, readNode(from, depth + 1, permissions)];
  });
  return {
    value: value.length > 0 ? value : EMPTY,
    permissions,
    generation,
    children: children.length > 0 ? new Map(children) : NO_CHILDREN,
  };
}

function writeDomain(to: RecordWriter, domain: DomainSnapshot): void {
  to.u32(domain.domid);
  to.u32(domain.target ?? 0xffff_ffff);
  to.u32(domain.shutdown ? 1 : 0);
  to.list(domain.watches, ({ path, token, prefixLength }) => {
    to.string(path);
    to.string(token);
    to.u32(prefixLength);
  });
  to.list(domain.transactionIds, id => to.u32(id));
  to.u32(domain.buffers.error);
  to.bytes(domain.buffers.input);
  to.list(domain.buffers.output, ({ message, sent, event }) => {
    to.bytes(message);
    to.u32(sent);
    to.u32(event === undefined ? 0 : 1);
    if (event !== undefined) to.string(event);
  });
}

function readDomain(from: RecordReader): DomainSnapshot {
  const domid = from.upTo(0xffff);
  const target = from.u32();
  const shutdown = from.upTo(1) === 1;
  const watches = from.list((): Watch => {
    const path = from.string();
    const token = from.string();
    return { path, token, prefixLength: from.upTo(path.length) };
  });
  const transactionIds = from.list(() => from.u32());
  const error = from.u32();
  const input = from.bytes();
  if (input.length > HEADER_BYTES + PAYLOAD_MAX) from.fail('a message too long');
  const output = from.list(() => {
    const message = from.bytes();
    const sent = from.upTo(message.length);
    return { message, sent, event: from.upTo(1) === 1 ? from.string() : undefined };
  });
  const buffers = { error, input, output };
  return { domid, target: target > 0xffff ? undefined : target, shutdown, watches, transactionIds, buffers };
}

export function encodeSnapshot({ top, generation, domains }: Snapshot): Uint8Array {
  const to = new RecordWriter();
  to.u32(MAGIC);
  to.u32(VERSION);
  to.u64(generation);
  writeNode(to, top);
  to.list(domains, domain => writeDomain(to, domain));
  return to.finish();
}

/** By the bytes that they were read from. */
const snapshots = new WeakMap<Uint8Array, Snapshot>();

/**
 * The same for bytes that stay as they are. All clones are made of the same ones, and nothing in a snapshot ever changes: they begin with one
 * tree. @throws DomusError E_XENSTORE_STATE
 */
export function snapshotIn(bytes: Uint8Array): Snapshot {
  const known = snapshots.get(bytes) ?? decodeSnapshot(bytes);
  snapshots.set(bytes, known);
  return known;
}

/** @throws DomusError E_XENSTORE_STATE */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  const from = new RecordReader(bytes);
  if (from.u32() !== MAGIC) from.fail('it is not one');
  const version = from.u32();
  if (version !== VERSION) from.fail(`version ${version} is unknown`);
  const generation = from.u64();
  const top = readNode(from, 0);
  for (const name of ['', '@releaseDomain', '@introduceDomain']) {
    if (!top.children.has(name)) from.fail('a tree without a root');
  }
  const domains = from.list(() => readDomain(from));
  from.end();
  return { top, generation, domains };
}
