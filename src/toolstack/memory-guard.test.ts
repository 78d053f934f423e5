/** Below the reserve no guest is made, and those that take more are held, one by one, until there is memory again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DomusError } from '../base/errors.ts';
import { createFakeParts } from './fake-guest.fixture.ts';
import { Host } from './host.ts';
import { type GuardedGuest, MemoryGuard } from './memory-guard.ts';

const MIB = 2 ** 20;

function scene(reserveMib: number) {
  let available = 10_000;
  let look: (() => void) | undefined;
  const guard = new MemoryGuard(
    {
      after(_delayMs, call) {
        look = call;
        return () => {};
      },
      every: () => () => {},
    },
    { reserveBytes: reserveMib * MIB, availableBytes: () => available * MIB },
  );
  const log: string[] = [];
  const guest = (name: string) => {
    const guest = {
      touchedBytes: 0,
      holdForMemory: (reason: string) => log.push(`${name} held: ${reason}`),
      letGo: () => log.push(`${name} goes on`),
    } satisfies GuardedGuest;
    guard.join(guest);
    return guest;
  };
  return {
    guard,
    guest,
    /** What happens at the next look. */
    look(availableMib: number): string[] {
      available = availableMib;
      const call = look;
      look = undefined;
      call?.();
      return log.splice(0);
    },
    isLooking: () => look !== undefined,
  };
}

test('the guest that takes most is held, then the next one; the first that was held goes on first', () => {
  const { guest, look } = scene(100);
  const [a, b, c] = [guest('a'), guest('b'), guest('c')];
  const take = (...mib: number[]) => {
    for (const [i, each] of [a, b, c].entries()) each.touchedBytes += (mib[i] ?? 0) * MIB;
  };
  take(500, 10, 10);
  assert.deepEqual(look(5000), [], 'there is enough');
  take(5, 30, 10);
  assert.deepEqual(look(90), ['b held: the host has 90 MiB of memory left']);
  take(5, 0, 2);
  assert.deepEqual(look(80), ['a held: the host has 80 MiB of memory left']);
  assert.deepEqual(look(60), [], 'it is not the guests');
  assert.deepEqual(look(110), [], 'not enough yet');
  assert.deepEqual(look(200), ['b goes on']);
  take(0, 1, 0);
  assert.deepEqual(look(99), ['b held: the host has 99 MiB of memory left']);
  assert.deepEqual(look(200), ['a goes on']);
  assert.deepEqual(look(200), ['b goes on']);
  assert.deepEqual(look(200), []);
});

test('it looks as long as there are guests', () => {
  const { guard, guest, look, isLooking } = scene(100);
  assert.ok(!isLooking());
  const a = guest('a');
  assert.ok(isLooking());
  guard.leave(a);
  assert.deepEqual(look(1), []);
  assert.ok(!isLooking());
  guest('b');
  assert.ok(isLooking());
});

test('a host without memory makes no guest, and says what is missing', async () => {
  let available = 200 * MIB;
  await using host = await Host.open({
    parts: createFakeParts({}),
    memory: { reserveBytes: 128 * MIB, availableBytes: () => available },
  });
  await using vm = await host.create({ initrd: '/own', kernel: '/k' });
  available = 100 * MIB;
  const isRefusal = ({ code, message }: DomusError) =>
    code === 'E_HOST_MEMORY' && /100 MiB .* 128 MiB/.test(message);
  await assert.rejects(host.create({ initrd: '/own', kernel: '/k' }), isRefusal);
  await assert.rejects(host.clone(vm), isRefusal);
  await assert.rejects(host.restore('/nowhere'), isRefusal);
});

test('a guest that is held goes on when both its owner and the guard let it', async () => {
  const parts = createFakeParts({});
  const phases: string[] = [];
  await using host = await Host.open({ parts, onPhase: ({ name }) => phases.push(name) });
  await using vm = await host.create({ initrd: '/own', kernel: '/k' });
  const isPaused = () => parts.guests[0]?.isPaused;
  vm.holdForMemory('little is left');
  assert.ok(isPaused());
  vm.resume();
  assert.ok(isPaused(), 'its owner has nothing to say about it');
  vm.letGo();
  assert.ok(!isPaused());
  await vm.pause();
  vm.holdForMemory('little is left');
  vm.letGo();
  assert.ok(isPaused(), 'its owner has paused it');
  vm.resume();
  assert.ok(!isPaused());
  assert.deepEqual(
    phases.filter(name => name === 'held' || name === 'resumed'),
    ['held', 'resumed', 'held', 'resumed'],
  );
});
