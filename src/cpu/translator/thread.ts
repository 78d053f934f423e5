/**
 * The thread that makes regions for all machines of the process, started by maker-thread.ts. It waits at the doorbell for
 * requests and for machines that come and go; its own event loop never turns.
 */
import { machineHeader } from '../../machine/header.ts';
import { viewMachineMemory } from '../../machine/memory.ts';
import { giveWay } from '../../platform/node/background.ts';
import { createNodeClock } from '../../platform/node/clock.ts';
import { post, receive, send, threadData } from '../../platform/node/threads.ts';
import { prepareCompilers } from '../../platform/node/wasm-compiler.ts';
import { createRuntime } from '../runtime/runtime.ts';
import { Library } from './library/library.ts';
import { libraryVersion } from './library/version.ts';
import { RegionMaker } from './maker.ts';
import type { MakerMessage, MakerReport, MakerStart } from './maker-thread.ts';
import { type HotPlace, Reason, RequestRing } from './requests.ts';

/** Places that are made into one module: more take longer until the first of them is there. */
const BATCH = 24;
/** Time for more places to become hot before a module is made of them. */
const COLLECT_MS = 5;
const unused = (): never => {
  throw new Error('the maker of regions executes nothing');
};

interface Customer {
  readonly id: number;
  readonly requests: RequestRing;
  readonly maker: RegionMaker;
  /** Hot places that wait for more of them, and until when. */
  readonly hot: HotPlace[];
  until: number;
}

prepareCompilers();
giveWay();

const { doorbell, control, known, libraryFolder } = threadData() as MakerStart;
const library =
  known && libraryFolder ? new Library(`${libraryFolder}/${libraryVersion()}`, known) : undefined;
const clock = createNodeClock();
const nowMs = (): number => clock.monotonicNs() / 1e6;
let customers: Customer[] = [];

function take(message: MakerMessage): void {
  if (message.kind === 'gone') {
    customers.find(({ id }) => id === message.id)?.maker.close();
    customers = customers.filter(({ id }) => id !== message.id);
    post({ kind: 'parted', id: message.id } satisfies MakerReport);
    return;
  }
  const { id, runtime: module, installers } = message;
  const memory = viewMachineMemory(message.memory);
  const runtime = createRuntime(module, memory, {
    decode: unused,
    pageIn: unused,
    mmioRead: unused,
    mmioWrite: unused,
    rdmsr: unused,
    wrmsr: unused,
  });
  const maker = new RegionMaker({
    memory,
    runtime,
    nrInstallers: installers.length,
    library,
    deliver: delivery => {
      for (const port of installers) send(port, delivery);
    },
  });
  const requests = new RequestRing(memory, machineHeader(memory).translator);
  customers.push({ id, maker, requests, hot: [], until: 0 });
}

/** Returns whether there was something to do. What an earlier run has made is looked for at once, whatever else waits. */
function serve(customer: Customer): boolean {
  const { requests, maker, hot } = customer;
  const known: HotPlace[] = [];
  while (known.length < BATCH && hot.length < BATCH) {
    const place = requests.take();
    if (!place) break;
    if (place.reason !== Reason.hot) known.push(place);
    else if (hot.push(place) === 1) customer.until = nowMs() + COLLECT_MS;
  }
  if (known.length > 0) maker.make(known);
  else if (hot.length === BATCH || (hot.length > 0 && nowMs() >= customer.until)) {
    maker.make(hot.splice(0));
  } else return false;
  return true;
}

for (;;) {
  const rings = Atomics.load(doorbell, 0);
  for (let message = receive(control); message !== undefined; message = receive(control)) {
    take(message as MakerMessage);
  }
  let isBusy = false;
  for (const customer of customers) isBusy = serve(customer) || isBusy;
  if (isBusy) continue;
  // One module of several regions is cheaper than several modules.
  const waiting = customers.filter(({ hot }) => hot.length > 0).map(({ until }) => until);
  if (waiting.length > 0) Atomics.wait(doorbell, 0, rings, Math.max(0, Math.min(...waiting) - nowMs()));
  else if (!customers.some(({ maker }) => maker.rest())) Atomics.wait(doorbell, 0, rings);
}
