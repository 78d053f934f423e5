/** The protocol spoken to a session directly: interrupts, breakpoints and nonsense, without gdb. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { random } from '../../test/oracle/random.ts';
import { registerByName } from '../cpu/debug/registers.ts';
import { createDebugMachine } from './debug-machine.fixture.ts';
import { createPacketReader, framePacket } from './gdb-packet.ts';
import { createGdbSession } from './gdb-session.ts';

const ENTRY = 0x10_0000;
/** start: inc eax; jmp start */
const LOOP = Uint8Array.of(0x40, 0xeb, 0xfd);

function attach() {
  const machine = createDebugMachine({ code: LOOP, entry: ENTRY, memoryBytes: 16 << 20, vcpus: 2 });
  const replies: string[] = [];
  let wake: () => void = () => {};
  const reader = createPacketReader(event => {
    if (event.kind === 'packet') replies.push(event.data);
    wake();
  });
  const session = createGdbSession(machine.target, { write: reader, close: () => {} });
  machine.target.onStop(stop => session.stopped(stop));
  const next = async (): Promise<string> => {
    while (replies.length === 0) {
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
    return replies.shift() as string;
  };
  return {
    machine,
    session,
    replies,
    next,
    send: (data: string) => session.receive(framePacket(data)),
    async ask(data: string): Promise<string> {
      session.receive(framePacket(data));
      return next();
    },
  };
}

test('Ctrl-C stops a machine that runs', async () => {
  const gdb = attach();
  gdb.send('vCont;c');
  await new Promise(resolve => setImmediate(resolve));
  gdb.session.receive(Uint8Array.of(3));
  assert.match(await gdb.next(), /^T02thread:1;/);
  const eax = registerByName('rax')!.read(gdb.machine.target.engine, gdb.machine.target.vcpus[0]!.block);
  assert.ok(eax > 0n);
  // Stopped means stopped.
  await new Promise(resolve => setImmediate(resolve));
  assert.equal(
    registerByName('rax')!.read(gdb.machine.target.engine, gdb.machine.target.vcpus[0]!.block),
    eax,
  );
});

test('a breakpoint stops before its instruction each time round, and not after it is gone', async () => {
  const gdb = attach();
  assert.equal(await gdb.ask('Z0,100001,1'), 'OK');
  for (let round = 1; round <= 3; round++) {
    assert.match(await gdb.ask('vCont;c'), /^T05thread:1;/);
    assert.equal((await gdb.ask('g')).slice(0, 16), `0${round}00000000000000`);
  }
  assert.equal(await gdb.ask('m100000,3'), '40ebfd');
  assert.equal(await gdb.ask('z0,100001,1'), 'OK');
  gdb.send('vCont;c');
  await new Promise(resolve => setImmediate(resolve));
  gdb.session.receive(Uint8Array.of(3));
  assert.match(await gdb.next(), /^T02/);
});

test('what is not offered is answered as the protocol wants it', async () => {
  const gdb = attach();
  assert.equal(await gdb.ask('Z2,100000,4'), '');
  assert.equal(await gdb.ask('vMustReplyEmpty'), '');
  assert.equal(await gdb.ask('P12=00000000'), 'E16');
  assert.equal(await gdb.ask('m8000000,4'), 'E0e');
  assert.equal(await gdb.ask('Hg7'), 'E16');
  // A vCPU that is offline does not move.
  assert.match(await gdb.ask('vCont;s:2;c'), /^T05thread:2;/);
});

test('detaching lets the machine run on without its breakpoints', async () => {
  const gdb = attach();
  assert.equal(await gdb.ask('Z0,100001,1'), 'OK');
  assert.equal(await gdb.ask('D'), 'OK');
  await new Promise(resolve => setImmediate(resolve));
  await gdb.machine.target.stop();
  assert.ok(registerByName('rax')!.read(gdb.machine.target.engine, gdb.machine.target.vcpus[0]!.block) > 1n);
});

test('random commands stop nothing', async () => {
  const gdb = attach();
  const draw = random(0x6d6d);
  const heads = [
    'g',
    'G',
    'p',
    'P',
    'm',
    'M',
    'X',
    'Z0',
    'z1',
    'Z4',
    'H',
    'T',
    'q',
    'qXfer:features:read:',
    'qRcmd,',
    'vCont;s',
    'Q',
    '?',
    's',
    'qThreadExtraInfo,',
  ];
  const alphabet = '0123456789abcdef,:;=-xyz.}';
  for (let round = 0; round < 500; round++) {
    const tail = Array.from({ length: draw.below(20) }, () => alphabet[draw.below(alphabet.length)]).join('');
    // Every command is answered.
    assert.equal(typeof (await gdb.ask(`${draw.pick(heads)}${tail}`)), 'string');
  }
});
