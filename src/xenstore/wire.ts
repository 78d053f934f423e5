/**
 * The xenstore wire protocol: message types, limits, error names and the bytes of a message.
 *
 * A message is a 16-byte header and up to 4096 bytes of payload. Paths and tokens are byte strings ended by a nul; they
 * are kept as JavaScript strings with one char per byte, so that whatever a guest sends comes back unchanged.
 * Sources: Xen public/io/xs_wire.h, docs/misc/xenstore.txt.
 */
import { struct, u32 } from '../base/struct.ts';

export const MessageType = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
} as const;

export const MessageHeader = struct('xsd_sockmsg', { type: u32, req_id: u32, tx_id: u32, len: u32 });

export const PAYLOAD_MAX = 4096;
export const ABS_PATH_MAX = 3072;
export const REL_PATH_MAX = 2048;

/** The errors that the protocol knows, sent by name. */
export type XenstoreErrno =
  | 'EINVAL'
  | 'EACCES'
  | 'EEXIST'
  | 'EISDIR'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'EIO'
  | 'ENOTEMPTY'
  | 'ENOSYS'
  | 'EROFS'
  | 'EBUSY'
  | 'EAGAIN'
  | 'EISCONN'
  | 'E2BIG'
  | 'EPERM';

/** A request that xenstore refuses. It becomes an ERROR reply for a guest and is thrown to in-process callers. */
export class XenstoreError extends Error {
  readonly errno: XenstoreErrno;
  readonly path: string | undefined;

  constructor(errno: XenstoreErrno, path?: string) {
    super(path === undefined ? `xenstore: ${errno}` : `xenstore: ${errno}: ${path}`);
    this.name = 'XenstoreError';
    this.errno = errno;
    this.path = path;
  }
}

export const EMPTY = new Uint8Array(0);

/** One char per byte, both ways. */
export function bytesToString(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = '';
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

export function stringToBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Strings as a payload carries them: each with a nul behind it. */
export const packStrings = (...strings: string[]): Uint8Array =>
  stringToBytes(strings.map(text => `${text}\0`).join(''));

/** The first `max` nul-terminated strings of a payload, and the offset behind the last of them. */
export function unpackStrings(payload: Uint8Array, max: number): { strings: string[]; end: number } {
  const strings: string[] = [];
  let end = 0;
  while (strings.length < max) {
    const nul = payload.indexOf(0, end);
    if (nul < 0) break;
    strings.push(bytesToString(payload, end, nul));
    end = nul + 1;
  }
  return { strings, end };
}

/** The payload's only string. @throws XenstoreError EINVAL unless there is exactly one nul, at the end. */
export function onlyString(payload: Uint8Array): string {
  if (payload.length === 0 || payload.indexOf(0) !== payload.length - 1) throw new XenstoreError('EINVAL');
  return bytesToString(payload, 0, payload.length - 1);
}

/** Header and payload in one piece. */
export function encodeMessage(
  type: number,
  requestId: number,
  txId: number,
  payload: Uint8Array,
): Uint8Array {
  const message = new Uint8Array(MessageHeader.size + payload.length);
  const header = MessageHeader.at(new DataView(message.buffer), 0);
  header.type = type;
  header.req_id = requestId;
  header.tx_id = txId;
  header.len = payload.length;
  message.set(payload, MessageHeader.size);
  return message;
}
