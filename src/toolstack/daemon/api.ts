/**
 * The interface of the host process, version 1: HTTP with JSON over its socket. docs/api/openapi.json describes it; a test compares
 * the two.
 */
import { DomusError } from '../../base/errors.ts';
import type { LocalHandler, LocalReply, LocalRequest } from '../../platform/node/local-http.ts';
import type { Phase } from '../boot.ts';
import type { CommandOptions } from '../guest-commands.ts';
import { listSnapshots, newSnapshotPath, removeSnapshot } from '../snapshots.ts';
import { parseBudgetChange } from './balance-report.ts';
import { parseCloneRequest } from './clone-request.ts';
import { attachConsole } from './console.ts';
import { errorBody } from './errors.ts';
import type { GuestEvent } from './event-log.ts';
import { parseGuestAction, parseGuestChange } from './guest-change.ts';
import { diskView, parseDiskAction, parseDiskRequest } from './guest-disks.ts';
import { type LogQuery, type LogRecord, type LogStream, readLog } from './guest-log.ts';
import { networkView, parseNetworkChange } from './guest-network.ts';
import { isStringArray, isStringRecord, parseGuestRequest } from './guest-request.ts';
import type { Guest, Guests } from './guests.ts';
import { hostInfo } from './host-info.ts';
import { type RelayTarget, relayCommand } from './relay.ts';
import { parseSharingChange } from './sharing-report.ts';
import { parseSwitchChange } from './switches.ts';

/** The protocol of an upgraded connection (image/guest-agent/frames.ts). */
export const FRAMES_PROTOCOL = 'domus-frames/1';
const REQUEST_BYTES_MAX = 1 << 20;
/** Records that wait for a slow reader of a log that is followed; then it is told that some are missing. */
const FOLLOW_RECORDS_MAX = 8192;

export interface ApiOptions {
  readonly guests: Guests;
  /** Snapshots lie there. */
  readonly stateFolder: string;
  readonly token: string;
  readonly version: string;
  readonly processId: number;
}

interface Call {
  readonly request: LocalRequest;
  /** The words of the path that stand for something. */
  readonly words: readonly string[];
  readonly options: ApiOptions;
}

type Answer = (call: Call) => Promise<LocalReply>;

export interface Route {
  readonly method: string;
  /** As in the description: `/v1/guests/{guest}`. */
  readonly path: string;
  readonly answer?: Answer;
  /** For routes that leave HTTP. */
  readonly target?: (guest: Guest) => RelayTarget;
}

const json = (value: unknown, status = 200): LocalReply => ({
  status,
  contentType: 'application/json',
  body: `${JSON.stringify(value)}\n`,
});
const lines = (body: AsyncIterable<string>): LocalReply => ({
  status: 200,
  contentType: 'application/x-ndjson',
  body,
});
const guestOf = ({ options, words }: Call): Guest => options.guests.find(words[0] ?? '');

/** A queue between who calls and who iterates. */
function queue<T>() {
  const items: T[] = [];
  let wake = () => {};
  let hasEnded = false;
  return {
    get length() {
      return items.length;
    },
    push(item: T) {
      items.push(item);
      wake();
    },
    end() {
      hasEnded = true;
      wake();
    },
    async *[Symbol.asyncIterator](): AsyncGenerator<T> {
      for (;;) {
        while (items.length > 0) yield items.shift() as T;
        if (hasEnded) return;
        await new Promise<void>(resolve => {
          wake = resolve;
        });
      }
    },
  };
}

/** One line for each phase, then `guest` or `error`. */
async function* createdGuest({ request, options }: Call, body: unknown): AsyncGenerator<string> {
  const phases = queue<Phase>();
  const creation = options.guests
    .create(parseGuestRequest(body), phase => phases.push(phase), request.signal)
    .finally(() => phases.end());
  creation.catch(() => {});
  for await (const phase of phases) yield `${JSON.stringify({ phase })}\n`;
  try {
    yield `${JSON.stringify({ guest: (await creation).view })}\n`;
  } catch (error) {
    yield `${errorBody(error)}\n`;
  }
}

async function bodyOf({ request }: Call): Promise<unknown> {
  const text = new TextDecoder().decode(await request.body(REQUEST_BYTES_MAX));
  try {
    return JSON.parse(text);
  } catch {
    throw new DomusError('E_API_REQUEST', 'the request is not understood: it is no JSON');
  }
}

/** `{path, ends}`. */
async function saveGuest(call: Call): Promise<LocalReply> {
  const { path, ends } = ((await bodyOf(call)) ?? {}) as { path?: unknown; ends?: unknown };
  if (typeof path !== 'string' || !path.startsWith('/')) throw badStart('path is no absolute path');
  const guest = guestOf(call);
  await call.options.guests.save(guest, path, ends === true);
  return json({ guest: guest.view });
}

async function cloneGuest(call: Call): Promise<LocalReply> {
  const request = parseCloneRequest(await bodyOf(call));
  const { guests, heldMs } = await call.options.guests.clone(guestOf(call), request);
  return json({ guests: guests.map(({ view }) => view), heldMs });
}

async function createGuest(call: Call): Promise<LocalReply> {
  const body = await bodyOf(call);
  // Refused at once, before the reply begins.
  parseGuestRequest(body);
  return lines(createdGuest(call, body));
}

const STREAMS: readonly LogStream[] = ['console', 'stdout', 'stderr'];

function logQuery(query: URLSearchParams): LogQuery {
  const wanted = query.get('streams')?.split(',') ?? STREAMS;
  const streams = STREAMS.filter(stream => wanted.includes(stream));
  const tail = query.get('tail');
  const since = query.get('since');
  if ((tail !== null && !/^\d{1,9}$/.test(tail)) || (since !== null && Number.isNaN(Date.parse(since)))) {
    throw new DomusError('E_API_REQUEST', 'the request is not understood: tail or since');
  }
  return {
    streams,
    ...(tail !== null && { tail: Number(tail) }),
    ...(since !== null && { since: new Date(Date.parse(since)).toISOString() }),
  };
}

async function* logLines(guest: Guest, query: LogQuery, follows: boolean, signal: AbortSignal) {
  const news = queue<LogRecord>();
  // Reading and listening begin in one turn, so that nothing is missed or doubled.
  const records = readLog(guest.folder, query);
  const stop = guest.log?.follow(record => {
    if (query.streams.includes(record.stream) && news.length < FOLLOW_RECORDS_MAX) news.push(record);
  });
  try {
    for (const record of records) yield `${JSON.stringify(record)}\n`;
    if (!follows) return;
    signal.addEventListener('abort', () => news.end(), { once: true });
    void guest.ended.promise.then(() => news.end());
    for await (const record of news) yield `${JSON.stringify(record)}\n`;
  } finally {
    stop?.();
  }
}

async function changeGuest(call: Call): Promise<LocalReply> {
  const guest = guestOf(call);
  await call.options.guests.change(guest, parseGuestChange(await bodyOf(call)));
  return json({ guest: guest.view });
}

async function attachDisk(call: Call): Promise<LocalReply> {
  const spec = parseDiskRequest(await bodyOf(call));
  return json({ disk: diskView(await call.options.guests.attachDisk(guestOf(call), spec)) });
}

const disksOf = (guest: Guest) => [...guest.running().disks.values()].map(diskView);

async function detachDisk(call: Call): Promise<LocalReply> {
  const guest = guestOf(call);
  await call.options.guests.detachDisk(guest, call.words[1] ?? '');
  return json({ disks: disksOf(guest) });
}

async function actOnDisk(call: Call): Promise<LocalReply> {
  const request = parseDiskAction(await bodyOf(call));
  const disk = await call.options.guests.actOnDisk(guestOf(call), call.words[1] ?? '', request);
  return json({ disk: diskView(disk) });
}

/** `null` for a guest without one. */
const networkReply = (guest: Guest) => {
  const { network } = guest.running();
  return json({ network: network ? networkView(network) : null });
};

async function changeNetwork(call: Call): Promise<LocalReply> {
  const change = parseNetworkChange(await bodyOf(call));
  const guest = guestOf(call);
  await call.options.guests.changeNetwork(guest, change);
  return networkReply(guest);
}

async function changeSwitch(call: Call): Promise<LocalReply> {
  const change = parseSwitchChange(await bodyOf(call));
  return json({ switch: call.options.guests.changeSwitch(call.words[0] ?? '', change) });
}

async function actOnGuest(call: Call): Promise<LocalReply> {
  const guest = guestOf(call);
  await call.options.guests.act(guest, parseGuestAction(await bodyOf(call)));
  return json({ guest: guest.view });
}

/** What has happened, and, with `follow`, what does from now on. */
async function* eventLines(
  { events }: Guests,
  follows: boolean,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const news = queue<GuestEvent>();
  const { past } = events;
  const stop = follows
    ? events.follow(event => {
        if (news.length < FOLLOW_RECORDS_MAX) news.push(event);
      })
    : undefined;
  try {
    // A first line at once, so that who follows knows that nothing will be missed.
    yield `${past.map(event => `${JSON.stringify(event)}\n`).join('')}\n`;
    if (!follows) return;
    signal.addEventListener('abort', () => news.end(), { once: true });
    for await (const event of news) yield `${JSON.stringify(event)}\n`;
  } finally {
    stop?.();
  }
}

/** Wait for the end of a guest, or of the client. */
async function waitForGuest({ request, ...call }: Call): Promise<LocalReply> {
  const guest = guestOf({ request, ...call });
  await Promise.race([
    guest.ended.promise,
    new Promise(resolve => request.signal.addEventListener('abort', resolve, { once: true })),
  ]);
  return json({ guest: guest.view });
}

/** Cells of a memory map: default, and most. */
const CELLS_DEFAULT = 1024;
const CELLS_MAX = 16384;

async function memoryOfGuest(call: Call): Promise<LocalReply> {
  const wanted = call.request.query.get('cells') ?? String(CELLS_DEFAULT);
  const cells = /^\d{1,5}$/.test(wanted) ? Number(wanted) : 0;
  if (cells < 1 || cells > CELLS_MAX) throw badStart(`cells is no number from 1 to ${CELLS_MAX}`);
  return json(guestOf(call).running().memoryMap(cells));
}

/** `{name}`. */
async function keepSnapshot(call: Call): Promise<LocalReply> {
  const { name } = ((await bodyOf(call)) ?? {}) as { name?: unknown };
  if (typeof name !== 'string') throw badStart('name is no text');
  const { guests, stateFolder } = call.options;
  const guest = guestOf(call);
  guest.running();
  await guests.save(guest, await newSnapshotPath(name, stateFolder), false);
  const snapshots = await listSnapshots(stateFolder);
  return json({ snapshot: snapshots.find(each => each.name === name) });
}

const badStart = (what: string) => new DomusError('E_API_REQUEST', `the request is not understood: ${what}`);

/** START of a command: `{command, env, workingFolder, user, terminal: {columns, rows}, hasInput, isTool}`. */
function parseCommand(value: unknown): { command: readonly string[]; options: CommandOptions } {
  const { command, ...rest } = (value ?? {}) as CommandOptions & { command?: unknown };
  if (!isStringArray(command)) throw badStart('command is no list of texts');
  const { env, workingFolder, user, terminal, hasInput, isTool } = rest;
  if (env !== undefined && !isStringRecord(env)) throw badStart('env is no object of texts');
  for (const text of [workingFolder, user]) {
    if (text !== undefined && typeof text !== 'string') throw badStart('workingFolder or user is no text');
  }
  return {
    command,
    options: {
      env,
      workingFolder,
      user,
      hasInput: hasInput === true,
      isTool: isTool === true,
      ...(terminal && { terminal: { columns: Number(terminal.columns), rows: Number(terminal.rows) } }),
    },
  };
}

const commandTarget = (guest: Guest): RelayTarget => ({
  run(start, attach, signal) {
    const { command, options } = parseCommand(start);
    return guest.running().execAttached(command, { ...options, signal }, attach);
  },
});

const consoleTarget = (guest: Guest): RelayTarget => ({
  run: (_start, attach, signal) => attachConsole(guest.running(), attach, signal),
});

export const ROUTES: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/version',
    answer: async ({ options }) => json({ version: options.version, api: 1, processId: options.processId }),
  },
  {
    method: 'GET',
    path: '/v1/guests',
    answer: async ({ options }) => json({ guests: options.guests.list().map(({ view }) => view) }),
  },
  { method: 'POST', path: '/v1/guests', answer: createGuest },
  {
    method: 'GET',
    path: '/v1/info',
    answer: async ({ options }) => json({ version: options.version, ...hostInfo(options.guests) }),
  },
  { method: 'GET', path: '/v1/sharing', answer: async ({ options }) => json(options.guests.sharing) },
  {
    method: 'PATCH',
    path: '/v1/sharing',
    async answer(call) {
      const { guests } = call.options;
      guests.setSharingCpu(parseSharingChange(await bodyOf(call)).cpuPercent);
      return json(guests.sharing);
    },
  },
  { method: 'GET', path: '/v1/memory', answer: async ({ options }) => json(options.guests.balance) },
  {
    method: 'PATCH',
    path: '/v1/memory',
    async answer(call) {
      const { guests } = call.options;
      guests.setMemoryBudget(parseBudgetChange(await bodyOf(call)));
      return json(guests.balance);
    },
  },
  {
    method: 'GET',
    path: '/v1/events',
    answer: async ({ request: { query, signal }, options }) =>
      lines(eventLines(options.guests, query.get('follow') === '1', signal)),
  },
  {
    method: 'DELETE',
    path: '/v1/events',
    async answer({ options }) {
      options.guests.events.clear();
      return json({});
    },
  },
  { method: 'PATCH', path: '/v1/guests/{guest}', answer: changeGuest },
  { method: 'POST', path: '/v1/guests/{guest}/actions', answer: actOnGuest },
  { method: 'GET', path: '/v1/guests/{guest}', answer: async call => json({ guest: guestOf(call).view }) },
  {
    method: 'DELETE',
    path: '/v1/guests/{guest}',
    async answer(call) {
      const guest = guestOf(call);
      await call.options.guests.destroy(guest);
      return json({ guest: guest.view });
    },
  },
  { method: 'GET', path: '/v1/guests/{guest}/wait', answer: waitForGuest },
  { method: 'POST', path: '/v1/guests/{guest}/save', answer: saveGuest },
  { method: 'POST', path: '/v1/guests/{guest}/clone', answer: cloneGuest },
  { method: 'POST', path: '/v1/guests/{guest}/snapshot', answer: keepSnapshot },
  {
    method: 'GET',
    path: '/v1/guests/{guest}/disks',
    answer: async call => json({ disks: disksOf(guestOf(call)) }),
  },
  { method: 'POST', path: '/v1/guests/{guest}/disks', answer: attachDisk },
  { method: 'DELETE', path: '/v1/guests/{guest}/disks/{disk}', answer: detachDisk },
  { method: 'POST', path: '/v1/guests/{guest}/disks/{disk}/actions', answer: actOnDisk },
  {
    method: 'GET',
    path: '/v1/guests/{guest}/network',
    answer: async call => networkReply(guestOf(call)),
  },
  { method: 'PATCH', path: '/v1/guests/{guest}/network', answer: changeNetwork },
  {
    method: 'GET',
    path: '/v1/switches',
    answer: async ({ options }) => json({ switches: options.guests.switches }),
  },
  { method: 'PATCH', path: '/v1/switches/{switch}', answer: changeSwitch },
  { method: 'GET', path: '/v1/guests/{guest}/memory', answer: memoryOfGuest },
  {
    method: 'GET',
    path: '/v1/snapshots',
    answer: async ({ options }) => json({ snapshots: await listSnapshots(options.stateFolder) }),
  },
  {
    method: 'DELETE',
    path: '/v1/snapshots/{snapshot}',
    async answer({ options, words }) {
      await removeSnapshot(words[0] ?? '', options.stateFolder);
      return json({});
    },
  },
  {
    method: 'GET',
    path: '/v1/guests/{guest}/logs',
    async answer(call) {
      const { query, signal } = call.request;
      return lines(logLines(guestOf(call), logQuery(query), query.get('follow') === '1', signal));
    },
  },
  { method: 'GET', path: '/v1/guests/{guest}/exec', target: commandTarget },
  { method: 'GET', path: '/v1/guests/{guest}/console', target: consoleTarget },
];

function decoded(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    throw badStart(`${word} is no part of a path`);
  }
}

function match(route: Route, { method, path }: LocalRequest): string[] | undefined {
  if (route.method !== method) return undefined;
  const have = path.split('/');
  const want = route.path.split('/');
  if (have.length !== want.length) return undefined;
  const words: string[] = [];
  for (const [i, word] of want.entries()) {
    if (word.startsWith('{')) words.push(decoded(have[i] ?? ''));
    else if (word !== have[i]) return undefined;
  }
  return words;
}

/** HTTP status of an error; its code says more. */
const STATUS: Readonly<Record<string, number>> = {
  E_GUEST_NOT_FOUND: 404,
  E_DISK_UNKNOWN: 404,
  E_NET_SWITCH: 404,
  E_SNAPSHOT_UNKNOWN: 404,
  E_SNAPSHOT_EXISTS: 409,
  E_API_NOT_FOUND: 404,
  E_GUEST_EXISTS: 409,
  E_GUEST_ENDED: 409,
  E_NOT_READY: 409,
  E_API_TOKEN: 401,
  E_DAEMON_FAILED: 500,
};

function refusal(error: unknown): LocalReply {
  const code = error instanceof DomusError ? error.code : 'E_DAEMON_FAILED';
  return { status: STATUS[code] ?? 400, contentType: 'application/json', body: `${errorBody(error)}\n` };
}

export function createApi(options: ApiOptions): LocalHandler {
  const find = (request: LocalRequest): { route: Route; words: string[] } => {
    if (request.authorization !== `Bearer ${options.token}`) {
      throw new DomusError('E_API_TOKEN', 'the host process does not know this client');
    }
    for (const route of ROUTES) {
      const words = match(route, request);
      if (words) return { route, words };
    }
    throw new DomusError('E_API_NOT_FOUND', `there is no ${request.method} ${request.path}`);
  };
  return {
    async reply(request) {
      try {
        const { route, words } = find(request);
        if (!route.answer) throw badStart(`${route.path} needs "Upgrade: ${FRAMES_PROTOCOL}"`);
        return await route.answer({ request, words, options });
      } catch (error) {
        return refusal(error);
      }
    },
    async upgrade(request, protocol) {
      try {
        const { route, words } = find(request);
        if (!route.target || protocol !== FRAMES_PROTOCOL) throw badStart(`${protocol} is not spoken there`);
        const guest = options.guests.find(words[0] ?? '');
        guest.running();
        const target = route.target(guest);
        return stream => relayCommand(stream, target);
      } catch (error) {
        return refusal(error);
      }
    },
  };
}
