/**
 * The `domus` command over a test double instead of a machine, as a process: for tests of streams, signals and exit
 * codes. The "commands" are a few words: see below.
 */
import { writeFileSync } from 'node:fs';
import { createFakeParts } from '../toolstack/fake-guest.fixture.ts';
import { Host } from '../toolstack/host.ts';
import { createContext, endProcess, main } from './main.ts';

const parts = createFakeParts({
  boot(guest) {
    guest.say('fake kernel says hello\n');
    if (guest.config.nrConsoles === 1) setTimeout(() => guest.stop({ reason: 'poweroff' }), 20);
  },
  async command({ spec, stdout, stderr, input, guest }) {
    const [word, argument] = spec.argv;
    if (word === 'both') {
      await stdout('to stdout\n');
      await stderr('to stderr\n');
      return 7;
    }
    if (word === 'cat') {
      for await (const chunk of input()) await stdout(chunk);
      return 0;
    }
    if (word === 'hello-cat') {
      await stdout('started\n');
      for await (const chunk of input()) await stdout(chunk);
      return 0;
    }
    if (word === 'env') await stdout(JSON.stringify(spec.env));
    if (word === 'exit') return Number(argument);
    if (word === 'crash') guest.stop({ reason: 'crash', detail: 'triple fault' });
    if (word === 'crash' || word === 'hang') {
      await stdout('started\n');
      // A timer keeps the process alive, as a running machine does.
      return new Promise(() => setInterval(() => {}, 1000));
    }
    return 0;
  },
});

process.on('exit', () => {
  const marker = process.env.FAKE_DESTROYED;
  if (marker) writeFileSync(marker, String(parts.guests.every(guest => guest.isDestroyed)));
});
endProcess(
  await main(
    process.argv.slice(2),
    createContext(options => Host.open({ ...options, parts })),
  ),
);
