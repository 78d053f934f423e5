/**
 * The thread that makes regions for all machines of the process, started by maker-thread.ts. It waits at the doorbell for
 * requests and for machines that come and go; its own event loop never turns.
 */
import { machineHeader } from '../../machine/header.ts';
import { viewMachineMemory } from '../../machine/memory.ts';
import { giveWay } from '../../platform/node/background.ts';
import { receive, send, threadData } from '../../platform/node/threads.ts';
import { compileAhead } from '../../platform/node/wasm-compiler.ts';
import { createRuntime } from '../runtime/runtime.ts';
import { RegionMaker } from './maker.ts';
import type { MakerMessage, MakerStart } from './maker-thread.ts';
import { type HotPlace, RequestRing } from './requests.ts';

/** Places that are made into one module: more take longer until the first of them is there. */
const BATCH = 12;
const unused = (): never => {
  throw new Error('the maker of regions executes nothing');
};

interface Customer {
  readonly id: number;
  readonly requests: RequestRing;
  readonly maker: RegionMaker;
}

// Else the guest's threads would compile what they are given.
compileAhead();
giveWay();

const { doorbell, control } = threadData() as MakerStart;
let customers: Customer[] = [];

function take(message: MakerMessage): void {
  if (message.kind === 'gone') {
    customers = customers.filter(({ id }) => id !== message.id);
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
  if (!isBusy) Atomics.wait(doorbell, 0, rings);
}
