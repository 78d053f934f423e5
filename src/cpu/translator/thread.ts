/**
 * The thread that makes regions for all machines of the process, started by maker-thread.ts. It waits at the doorbell for
 * requests and for machines that come and go; its own event loop never turns.
 */
import { machineHeader } from '../../machine/header.ts';
import { viewMachineMemory } from '../../machine/memory.ts';
import { giveWay } from '../../platform/node/background.ts';
import { post, receive, send, threadData } from '../../platform/node/threads.ts';
import { prepareCompilers } from '../../platform/node/wasm-compiler.ts';
import { createRuntime } from '../runtime/runtime.ts';
import { Library } from './library/library.ts';
import { libraryVersion } from './library/version.ts';
import { RegionMaker } from './maker.ts';
import type { MakerMessage, MakerReport, MakerStart } from './maker-thread.ts';
import { type HotPlace, RequestRing } from './requests.ts';

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
}

prepareCompilers();
giveWay();

const { doorbell, control, known, libraryFolder } = threadData() as MakerStart;
const library =
  known && libraryFolder ? new Library(`${libraryFolder}/${libraryVersion()}`, known) : undefined;
const pause = new Int32Array(new SharedArrayBuffer(4));
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
  customers.push({ id, maker, requests: new RequestRing(memory, machineHeader(memory).translator) });
}

/** Returns whether there was something to do. */
function serve({ requests, maker }: Customer): boolean {
  const places: HotPlace[] = [];
  while (places.length < BATCH) {
    const place = requests.take();
    if (!place) break;
    places.push(place);
  }
  if (places.length > 0) maker.make(places);
  return places.length > 0;
}

for (;;) {
  const rings = Atomics.load(doorbell, 0);
  for (let message = receive(control); message !== undefined; message = receive(control)) {
    take(message as MakerMessage);
  }
  let isBusy = false;
  for (const customer of customers) isBusy = serve(customer) || isBusy;
  if (isBusy) continue;
  if (customers.some(({ maker }) => maker.rest())) continue;
  Atomics.wait(doorbell, 0, rings);
  // One module of several regions is cheaper than several modules.
  Atomics.wait(pause, 0, 0, COLLECT_MS);
}
