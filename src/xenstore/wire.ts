/**
 * The xenstore wire protocol: message types, limits, error names and the bytes of a message.
 *
 * A message is a 16-byte header and up to 4096 bytes of payload. Paths and tokens are byte strings ended by a nul; they
 * are kept as JavaScript strings with one char per byte, so that whatever a guest sends comes back unchanged.
 * Sources: Xen public/io/xs_wire.h, docs/misc/xenstore.txt.
 */
import {
  XENSTORE_ABS_PATH_MAX,
  XENSTORE_PAYLOAD_MAX,
  XENSTORE_REL_PATH_MAX,
  Xs,
  XsdSockmsg,
} from '../abi/xen/io.ts';

export {
  XENSTORE_ABS_PATH_MAX as ABS_PATH_MAX,
  XENSTORE_PAYLOAD_MAX as PAYLOAD_MAX,
  XENSTORE_REL_PATH_MAX as REL_PATH_MAX,
  Xs as MessageType,
  XsdSockmsg as MessageHeader,
};

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
  const message = new Uint8Array(XsdSockmsg.size + payload.length);
  const header = XsdSockmsg.at(new DataView(message.buffer), 0);
  header.type = type;
  header.req_id = requestId;
  header.tx_id = txId;
  header.len = payload.length;
  message.set(payload, XsdSockmsg.size);
  return message;
}
