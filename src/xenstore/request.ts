/**
 * One request of the wire protocol, from payload to reply. Nothing is thrown: what is refused becomes an ERROR reply.
 *
 * Known but only for domain 0 (EACCES for others): CONTROL, INTRODUCE, RELEASE, RESUME, SET_TARGET,
 * IS_DOMAIN_INTRODUCED. Unknown types get ENOSYS.
 */
import { domainPath, parseDomid } from './path.ts';
import { formatPermission, isPrivileged, parsePermission } from './permissions.ts';
import type { Session } from './session.ts';
import type { Store } from './store.ts';
import type { Transaction } from './transaction.ts';
import {
  MessageType,
  onlyString,
  PAYLOAD_MAX,
  packStrings,
  stringToBytes,
  unpackStrings,
  type XenstoreErrno,
  XenstoreError,
} from './wire.ts';

/** What concerns domains rather than nodes. @throws XenstoreError from each */
export interface DomainControl {
  introduce(domid: number, gfn: number, port: number): void;
  release(domid: number): void;
  resume(domid: number): void;
  setTarget(domid: number, target: number): void;
  isIntroduced(domid: number): boolean;
}

export interface Reply {
  readonly type: number;
  readonly payload: Uint8Array;
  /** To be called when the reply is on its way: a new watch's first event comes behind the reply. */
  readonly after?: () => void;
}

interface Request {
  readonly store: Store;
  readonly domains: DomainControl;
  readonly session: Session;
  readonly txId: number;
  readonly tx: Transaction | undefined;
  readonly payload: Uint8Array;
}

type Result = Uint8Array | { readonly payload: Uint8Array; readonly after: () => void };
interface Handler {
  readonly run: (request: Request) => Result;
  readonly privileged?: boolean;
  /** The transaction id is ignored. */
  readonly withoutTransaction?: boolean;
}

const OK = stringToBytes('OK\0');

/** `count` strings at the start of the payload. @throws XenstoreError EINVAL when there are fewer */
function leadingStrings(payload: Uint8Array, count: number): { strings: string[]; rest: Uint8Array } {
  const { strings, end } = unpackStrings(payload, count);
  if (strings.length < count) throw new XenstoreError('EINVAL');
  return { strings, rest: payload.subarray(end) };
}

/** Path and token, and nothing else that ends with a nul. @throws XenstoreError EINVAL */
function watchStrings(payload: Uint8Array): [path: string, token: string] {
  const [path, token, ...more] = allStrings(payload);
  if (path === undefined || token === undefined || more.length > 0) throw new XenstoreError('EINVAL');
  return [path, token];
}

/** As many strings as the payload holds; bytes behind the last nul do not count. */
const allStrings = (payload: Uint8Array): string[] => unpackStrings(payload, PAYLOAD_MAX).strings;

function directoryPart({ store, session, tx, payload }: Request): Uint8Array {
  const [path, offsetText, ...more] = allStrings(payload);
  if (path === undefined || offsetText === undefined || more.length > 0) throw new XenstoreError('EINVAL');
  const node = store.directory(session, tx, path);
  const generation = packStrings(String(node.generation));
  const list = packStrings(...node.children.keys());
  const offset = Number.parseInt(offsetText, 10) >>> 0;
  if (offset >= list.length) return new Uint8Array([...generation, 0]);
  // Whole names only; an empty string ends the list.
  const room = PAYLOAD_MAX - generation.length - 1;
  let end = list.length;
  if (end - offset > room) end = list.lastIndexOf(0, offset + room - 1) + 1;
  const last = end === list.length ? [0] : [];
  return new Uint8Array([...generation, ...list.subarray(offset, end), ...last]);
}

function setPermissions({ store, session, tx, payload }: Request): Uint8Array {
  const [path, ...entries] = allStrings(payload);
  if (path === undefined || entries.length === 0) throw new XenstoreError('EINVAL');
  store.checkPermissionCount(session, entries.length);
  store.setPermissions(session, tx, path, entries.map(parsePermission));
  return OK;
}

function endTransaction({ store, session, txId, payload }: Request): Uint8Array {
  const verdict = onlyString(payload);
  if (verdict !== 'T' && verdict !== 'F') throw new XenstoreError('EINVAL');
  if (txId === 0) throw new XenstoreError('ENOENT');
  store.endTransaction(session, txId, verdict === 'T');
  return OK;
}

const HANDLERS: Readonly<Record<number, Handler>> = {
  [MessageType.CONTROL]: {
    privileged: true,
    run: ({ payload }) => {
      const [command] = allStrings(payload);
      if (command === 'help') return packStrings('help\n\thelp');
      throw new XenstoreError('EINVAL');
    },
  },
  [MessageType.DIRECTORY]: {
    run: ({ store, session, tx, payload }) =>
      packStrings(...store.directory(session, tx, onlyString(payload)).children.keys()),
  },
  [MessageType.READ]: {
    run: ({ store, session, tx, payload }) => store.read(session, tx, onlyString(payload)),
  },
  [MessageType.GET_PERMS]: {
    run: ({ store, session, tx, payload }) =>
      packStrings(...store.getPermissions(session, tx, onlyString(payload)).map(formatPermission)),
  },
  [MessageType.WATCH]: {
    withoutTransaction: true,
    run: ({ store, session, payload }) => {
      const [path, token] = watchStrings(payload);
      const { fire } = store.watch(session, path, token);
      return { payload: OK, after: fire };
    },
  },
  [MessageType.UNWATCH]: {
    withoutTransaction: true,
    run: ({ store, session, payload }) => {
      const [path, token] = watchStrings(payload);
      store.unwatch(session, path, token);
      return OK;
    },
  },
  [MessageType.TRANSACTION_START]: {
    run: ({ store, session, tx }) => {
      if (tx) throw new XenstoreError('EBUSY');
      return packStrings(String(store.startTransaction(session)));
    },
  },
  [MessageType.TRANSACTION_END]: { run: endTransaction },
  [MessageType.INTRODUCE]: {
    privileged: true,
    run: ({ domains, payload }) => {
      const [domid, gfn, port] = leadingStrings(payload, 3).strings as [string, string, string];
      if (!/^\d{1,10}$/.test(port) || Number(port) === 0) throw new XenstoreError('EINVAL');
      domains.introduce(parseDomid(domid), Number.parseInt(gfn, 10) || 0, Number(port));
      return OK;
    },
  },
  [MessageType.RELEASE]: {
    privileged: true,
    run: ({ domains, payload }) => {
      domains.release(parseDomid(onlyString(payload)));
      return OK;
    },
  },
  [MessageType.GET_DOMAIN_PATH]: {
    run: ({ payload }) => packStrings(domainPath(parseDomid(onlyString(payload)))),
  },
  [MessageType.WRITE]: {
    run: ({ store, session, tx, payload }) => {
      const { strings, rest } = leadingStrings(payload, 1);
      store.write(session, tx, strings[0]!, rest.slice());
      return OK;
    },
  },
  [MessageType.MKDIR]: {
    run: ({ store, session, tx, payload }) => {
      store.mkdir(session, tx, onlyString(payload));
      return OK;
    },
  },
  [MessageType.RM]: {
    run: ({ store, session, tx, payload }) => {
      store.remove(session, tx, onlyString(payload));
      return OK;
    },
  },
  [MessageType.SET_PERMS]: { run: setPermissions },
  [MessageType.IS_DOMAIN_INTRODUCED]: {
    privileged: true,
    run: ({ domains, payload }) =>
      packStrings(domains.isIntroduced(parseDomid(onlyString(payload))) ? 'T' : 'F'),
  },
  [MessageType.RESUME]: {
    privileged: true,
    run: ({ domains, payload }) => {
      domains.resume(parseDomid(onlyString(payload)));
      return OK;
    },
  },
  [MessageType.SET_TARGET]: {
    privileged: true,
    run: ({ domains, payload }) => {
      const [domid, target] = leadingStrings(payload, 2).strings as [string, string];
      domains.setTarget(parseDomid(domid), parseDomid(target));
      return OK;
    },
  },
  [MessageType.RESET_WATCHES]: {
    run: ({ session }) => {
      session.reset();
      return OK;
    },
  },
  [MessageType.DIRECTORY_PART]: { run: directoryPart },
};

export const errorReply = (errno: XenstoreErrno): Reply => ({
  type: MessageType.ERROR,
  payload: packStrings(errno),
});

/** Carry out one request. `payload` belongs to the caller; what is kept is copied. */
export function handleRequest(
  store: Store,
  domains: DomainControl,
  session: Session,
  type: number,
  txId: number,
  payload: Uint8Array,
): Reply {
  const handler = HANDLERS[type];
  if (!handler) return errorReply('ENOSYS');
  if (handler.privileged && !isPrivileged(session)) return errorReply('EACCES');
  try {
    const tx = handler.withoutTransaction ? undefined : store.transaction(session, txId);
    const result = handler.run({ store, domains, session, txId, tx, payload });
    const reply = result instanceof Uint8Array ? { type, payload: result } : { type, ...result };
    return reply.payload.length > PAYLOAD_MAX ? errorReply('E2BIG') : reply;
  } catch (error) {
    if (error instanceof XenstoreError) return errorReply(error.errno);
    throw error;
  }
}
