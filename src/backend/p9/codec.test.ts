import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FileError, type FileFacts } from '../../platform/folder-files.ts';
import {
  DeviceNumbers,
  encodeDevice,
  hostPermissions,
  modeOf,
  ownerOf,
  qidOf,
  recordedMode,
} from './attributes.ts';
import { encode } from './client.fixture.ts';
import { bytesOfText, MalformedMessage, MessageReader, MessageWriter, textOf } from './codec.ts';
import { Errno, Mode, T } from './protocol.ts';
import { errorReply, getattrReply, statfsReply, versionReply, walkReply } from './reply.ts';
import { errnoOfBadRequest, parseRequest, type Request, RequestError } from './request.ts';
import { type Steps, take, wait } from './steps.ts';

/** One of each kind, as Linux writes them, and what is to be understood. */
const REQUESTS: readonly (readonly [message: Uint8Array, request: Request])[] = [
  [
    encode(T.version, 0xffff, '4s', 8192, '9P2000.L'),
    { kind: 'version', messageBytes: 8192, version: '9P2000.L' },
  ],
  [encode(T.auth, 1, '4ss4', 1, 'u', 'a', 2), { kind: 'auth' }],
  [encode(T.attach, 1, '44ss4', 1, 2, 'u', 'a', 3), { kind: 'attach', fid: 1, authFid: 2, uid: 3 }],
  [encode(T.flush, 1, '2', 9), { kind: 'flush', oldTag: 9 }],
  [encode(T.walk, 1, '44n', 1, 2, ['a', '..']), { kind: 'walk', fid: 1, newFid: 2, names: ['a', '..'] }],
  [encode(T.clunk, 1, '4', 1), { kind: 'clunk', fid: 1 }],
  [encode(T.remove, 1, '4', 1), { kind: 'remove', fid: 1 }],
  [encode(T.statfs, 1, '4', 1), { kind: 'statfs', fid: 1 }],
  [encode(T.readlink, 1, '4', 1), { kind: 'readlink', fid: 1 }],
  [encode(T.lopen, 1, '44', 1, 2), { kind: 'lopen', fid: 1, flags: 2 }],
  [
    encode(T.lcreate, 1, '4s444', 1, 'n', 2, 3, 4),
    { kind: 'lcreate', folder: 1, name: 'n', flags: 2, mode: 3, gid: 4 },
  ],
  [
    encode(T.symlink, 1, '4ss4', 1, 'n', 'to/../x', 4),
    { kind: 'symlink', folder: 1, name: 'n', target: 'to/../x', gid: 4 },
  ],
  [
    encode(T.mknod, 1, '4s4444', 1, 'n', 2, 3, 4, 5),
    { kind: 'mknod', folder: 1, name: 'n', mode: 2, major: 3, minor: 4, gid: 5 },
  ],
  [encode(T.mkdir, 1, '4s44', 1, 'n', 2, 3), { kind: 'mkdir', folder: 1, name: 'n', mode: 2, gid: 3 }],
  [encode(T.rename, 1, '44s', 1, 2, 'n'), { kind: 'rename', fid: 1, folder: 2, name: 'n' }],
  [
    encode(T.renameat, 1, '4s4s', 1, 'n', 2, 'm'),
    { kind: 'renameat', from: 1, name: 'n', to: 2, newName: 'm' },
  ],
  [encode(T.unlinkat, 1, '4s4', 1, 'n', 0x200), { kind: 'unlinkat', folder: 1, name: 'n', flags: 0x200 }],
  [encode(T.link, 1, '44s', 1, 2, 'n'), { kind: 'link', folder: 1, fid: 2, name: 'n' }],
  [encode(T.getattr, 1, '48', 1, 0x7ffn), { kind: 'getattr', fid: 1, mask: 0x7ffn }],
  [
    encode(T.setattr, 1, '4444488888', 1, 2, 3, 4, 5, 6n, 7n, 8n, (1n << 64n) - 1n, 1n),
    {
      kind: 'setattr',
      ...{ fid: 1, valid: 2, mode: 3, uid: 4, gid: 5, size: 6n },
      ...{ atimeNs: 7_000_000_008n, mtimeNs: -999_999_999n },
    },
  ],
  [encode(T.read, 1, '484', 1, 1n << 40n, 3), { kind: 'read', fid: 1, offset: 1n << 40n, count: 3 }],
  [encode(T.readdir, 1, '484', 1, 2n, 3), { kind: 'readdir', fid: 1, offset: 2n, count: 3 }],
  [
    encode(T.write, 1, '48b', 1, 2n, Uint8Array.of(3, 4)),
    { kind: 'write', fid: 1, offset: 2n, data: Uint8Array.of(3, 4) },
  ],
  [encode(T.fsync, 1, '44', 1, 1), { kind: 'fsync', fid: 1, isDataOnly: true }],
  [encode(T.xattrwalk, 1, '44s', 1, 2, ''), { kind: 'xattrwalk', fid: 1, newFid: 2, name: '' }],
  [
    encode(T.xattrcreate, 1, '4s84', 1, 'user.x', 2n, 3),
    { kind: 'xattrcreate', fid: 1, name: 'user.x', size: 2n, flags: 3 },
  ],
  [
    encode(T.lock, 1, '414884s', 1, 2, 3, 4n, 5n, 6, 'c'),
    { kind: 'lock', fid: 1, type: 2, flags: 3, start: 4n, length: 5n, processId: 6, clientId: 'c' },
  ],
  [
    encode(T.getlock, 1, '41884s', 1, 2, 4n, 5n, 6, 'c'),
    {
      kind: 'getlock',
      fid: 1,
      type: 2,
      flags: 0,
      start: 4n,
      length: 5n,
      processId: 6,
      clientId: 'c',
    } as Request,
  ],
];

test('every request is understood, and nothing that is shorter or longer', () => {
  for (const [message, request] of REQUESTS) {
    assert.deepEqual(parseRequest(message), request);
    for (let length = 7; length < message.length; length++) {
      assert.throws(
        () => parseRequest(message.subarray(0, length)),
        MalformedMessage,
        `${request.kind} ${length}`,
      );
    }
    assert.throws(() => parseRequest(Uint8Array.of(...message, 0)), MalformedMessage, request.kind);
  }
  assert.throws(() => parseRequest(encode(6, 1, '')), { errno: Errno.EOPNOTSUPP });
  assert.throws(() => parseRequest(encode(T.walk, 1, '44n', 1, 2, Array(17).fill('x'))), {
    errno: Errno.EINVAL,
  });
  assert.throws(
    () => parseRequest(encode(T.setattr, 1, '4444488888', 1, 2, 3, 4, 5, 6, 7, 10n ** 9n, 0, 0)),
    {
      errno: Errno.EINVAL,
    },
  );
  assert.equal(errnoOfBadRequest(new RequestError(5)), 5);
  assert.equal(errnoOfBadRequest(new MalformedMessage('')), Errno.EPROTO);
  assert.equal(errnoOfBadRequest(new FileError(2, '')), undefined);
});

test('strings are bytes', () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.deepEqual(bytesOfText(textOf(all)), all);
  const writer = new MessageWriter(300).string(textOf(all));
  assert.equal(writer.length, 258);
  assert.equal(new MessageReader(writer.bytes.subarray(0, 258)).string(), textOf(all));
});

const FACTS: FileFacts = {
  ...{ dev: 1n, ino: 2n, mode: 0o100644, nlink: 3, uid: 1000, gid: 1001, rdev: 0n, size: 10 },
  ...{ blockBytes: 4096, blocks: 8, atimeNs: 1_000_000_001n, mtimeNs: 2n, ctimeNs: 3n, bornNs: 4n },
};

test('replies are laid out as Linux reads them', () => {
  assert.deepEqual([...errorReply(0x1234, 2)], [11, 0, 0, 0, 7, 0x34, 0x12, 2, 0, 0, 0]);
  assert.deepEqual([...versionReply(1, 0x2000, 'ab')], [15, 0, 0, 0, 101, 1, 0, 0, 0x20, 0, 0, 2, 0, 97, 98]);
  const qid = { type: 0x80, version: 5, path: 6n };
  assert.equal(walkReply(1, [qid, qid]).length, 7 + 2 + 26);
  const attributes = { ...FACTS, qid, rdev: 0x103n };
  const reply = new MessageReader(getattrReply(1, attributes), 7);
  assert.equal(getattrReply(1, attributes).length, 160);
  assert.equal(reply.u64(), 0xfffn);
  reply.bytes(13);
  assert.deepEqual([reply.u32(), reply.u32(), reply.u32()], [0o100644, 1000, 1001]);
  assert.deepEqual([reply.u64(), reply.u64(), reply.u64()], [3n, 0x103n, 10n]);
  assert.deepEqual([reply.u64(), reply.u64(), reply.u64(), reply.u64()], [4096n, 8n, 1n, 1n]);
  // Before 1970.
  const early = new MessageReader(getattrReply(1, { ...attributes, atimeNs: -1n }), 7 + 8 + 13 + 12 + 40);
  assert.deepEqual([BigInt.asIntN(64, early.u64()), early.u64()], [-1n, 999_999_999n]);
  const space = { blockBytes: 4096, blocks: 1n, free: 2n, available: 3n, files: 4n, filesFree: 5n };
  assert.equal(statfsReply(1, space).length, 67);
});

test('owners and permissions between host and guest', () => {
  const user = { userId: 1000, groupId: 1000 };
  assert.deepEqual(ownerOf(FACTS, undefined, user), { uid: 0, gid: 65534 });
  assert.deepEqual(ownerOf(FACTS, { gid: 5 }, user), { uid: 0, gid: 5 });
  assert.deepEqual(ownerOf(FACTS, undefined, { userId: 0, groupId: 0 }), { uid: 1000, gid: 1001 });
  assert.equal(hostPermissions(0o4011, false), 0o611);
  assert.equal(hostPermissions(0o1011, true), 0o711);
  assert.equal(recordedMode(Mode.regular | 0o644), undefined);
  assert.equal(recordedMode(Mode.regular | 0o444), Mode.regular | 0o444);
  assert.equal(recordedMode(Mode.fifo | 0o644), Mode.fifo | 0o644);
  // What stands on the host and what is recorded, until the host changes it.
  assert.equal(modeOf({ ...FACTS, mode: 0o100644 }, { mode: 0o100444 }), 0o100444);
  assert.equal(modeOf({ ...FACTS, mode: 0o100600 }, { mode: 0o100444 }), 0o100600);
  // Set-user-id bits of the host's files are not the guest's.
  assert.equal(modeOf({ ...FACTS, mode: 0o104755 }, undefined), 0o100755);
  // Only an empty file can stand for a device.
  assert.equal(modeOf({ ...FACTS, size: 0 }, { mode: 0o020644 }), 0o020644);
  assert.equal(modeOf(FACTS, { mode: 0o020644 }), 0o100644);
  assert.equal(modeOf({ ...FACTS, mode: 0o040755, size: 0 }, { mode: 0o020755 }), 0o040755);
  assert.equal(encodeDevice(1, 3), 0x103);
  assert.equal(encodeDevice(0xfff, 0xfffff), 0xffffffff);
  const devices = new DeviceNumbers();
  assert.equal(qidOf(FACTS, devices).path, 2n);
  assert.notEqual(qidOf({ ...FACTS, dev: 9n }, devices).path, 2n);
});

test('steps go on at once where they can, and pass on what goes wrong', async () => {
  function* sum(values: readonly (number | Promise<number>)[]): Steps<number> {
    let total = 0;
    for (const value of values) {
      try {
        total += yield* wait(value);
      } catch (error) {
        if ((error as Error).message !== 'ignored') throw error;
      }
    }
    return total;
  }
  assert.equal(take(sum([1, 2, 3])), 6);
  assert.equal(await take(sum([1, Promise.resolve(2), 3, Promise.reject(new Error('ignored'))])), 6);
  await assert.rejects(async () => take(sum([1, Promise.reject(new Error('bad'))])), /bad/);
});
