/**
 * Guests with a network, end to end: Debian's kernel with its own netfront, busybox in it, and servers of the test outside.
 * Without a kernel to be had the tests are skipped.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, request } from 'node:http';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { ip } from '../src/net/packet/address.ts';
import { DnsCode, DnsType, dnsAnswer, parseDns } from '../src/net/packet/dns.ts';
import { Host, type NetworkOptions, type VirtualMachine } from '../src/toolstack/index.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
/** Generous: for a loaded machine, not a measure. */
const TIMEOUT_MS = 300_000;
/** What is sent each way: 100 MB in the full run. */
const TRANSFER_BYTES = isFull ? 100 << 20 : 8 << 20;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

let host: Host;
let unavailable: string | undefined;
let folder = '';
const closing: (() => void)[] = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'domus-network-'));
  host = await Host.open();
  try {
    await host.run({ command: ['true'], network: 'nat', timeoutMs: TIMEOUT_MS });
  } catch (error) {
    const isMissing = error instanceof DomusError && /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code);
    if (!isMissing) throw error;
    unavailable = `no Debian kernel to be had: ${error.message}`;
  }
});
after(async () => {
  for (const close of closing) close();
  await host[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const guest = (name: string, run: (t: TestContext) => Promise<void>) =>
  test(name, async t => {
    if (unavailable !== undefined) t.skip(unavailable);
    else await run(t);
  });
const run = (command: string, network: NetworkOptions) =>
  host.run({ command, network, timeoutMs: TIMEOUT_MS });

/** The port of a server on 127.0.0.1. */
async function listen(server: Server): Promise<number> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Bytes of which every run of a few is different from the others. */
function pattern(length: number): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    words[i] = state;
  }
  return Buffer.from(words.buffer, 0, length);
}
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

guest('a guest fetches a file from the host, whole', async () => {
  const contents = pattern(TRANSFER_BYTES);
  const port = await listen(createHttpServer((_, response) => response.end(contents)));
  const { stdout, stderr } = await run(`wget -q -O - http://10.0.2.2:${port}/file | sha256sum`, {
    allow: ['127.0.0.1'],
  });
  assert.equal(text(stdout).split(' ')[0], sha256(contents), text(stderr));
});

guest('a guest sends a file to the host, whole', async () => {
  const chunks: Buffer[] = [];
  const port = await listen(
    createServer(socket => {
      socket.on('data', chunk => chunks.push(chunk as Buffer));
      socket.on('end', () => socket.end());
    }),
  );
  const { stdout } = await run(
    `dd if=/dev/urandom of=/tmp/file bs=64k count=${TRANSFER_BYTES >> 16} 2>/dev/null
     sha256sum /tmp/file; nc 10.0.2.2 ${port} </tmp/file`,
    { allow: ['127.0.0.1'] },
  );
  const received = Buffer.concat(chunks);
  assert.equal(received.length, TRANSFER_BYTES);
  assert.equal(text(stdout).split(' ')[0], sha256(received));
});

guest('the host is closed unless its address is allowed', async () => {
  const port = await listen(createHttpServer((_, response) => response.end('secret')));
  const { stdout, stderr, exitCode } = await run(
    `timeout 60 wget -q -O - http://10.0.2.2:${port}/ 2>&1; echo "code $?"`,
    { mode: 'nat' },
  );
  assert.equal(exitCode, 0, text(stderr));
  // Answered, not left to time out, and nothing of the page.
  assert.match(text(stdout), /No route to host\s+code 1\s*$/);
  assert.doesNotMatch(text(stdout), /secret/);
});

guest('a rule closes the gateway, also for pings', async () => {
  const ping = (where: string, seconds: number) =>
    `ping -c 1 -W ${seconds} ${where} >/dev/null 2>&1 && echo "${where} answers" || echo "${where} is closed"`;
  const { stdout } = await run([ping('10.0.2.2', 5), ping('10.0.2.3', 60)].join('; '), {
    deny: ['10.0.2.2'],
  });
  assert.equal(text(stdout), '10.0.2.2 is closed\n10.0.2.3 answers\n');
});

guest('names resolve at the name server that is given, and only those that are allowed', async () => {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (bytes, from) => {
    const query = parseDns(bytes);
    if (!query) return;
    asked.push(query.question.name);
    const isA = query.question.type === DnsType.a;
    const record = { type: DnsType.a, ttlSeconds: 60, data: ip('192.0.2.80') };
    socket.send(dnsAnswer(bytes, query, DnsCode.ok, isA ? [record] : []), from.port, from.address);
  });
  await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve));
  closing.push(() => socket.close());
  const { stdout } = await run('nslookup good.example; nslookup bad.example; true', {
    allow: ['good.example'],
    nameservers: [{ address: '127.0.0.1', port: socket.address().port }],
  });
  assert.match(text(stdout), /good\.example[\s\S]*192\.0\.2\.80/);
  assert.match(text(stdout), /can't find bad\.example: NXDOMAIN/);
  assert.ok(asked.includes('good.example') && !asked.includes('bad.example'), asked.join());
});

/** Ask until somebody listens: the guest's server takes its time to start. */
async function fetchText(port: number): Promise<string> {
  for (;;) {
    const answer = await new Promise<string | undefined>(resolve => {
      const ask = request({ host: '127.0.0.1', port, path: '/hello' }, response => {
        let body = '';
        response.on('data', chunk => {
          body += chunk;
        });
        response.on('end', () => resolve(body));
      });
      ask.on('error', () => resolve(undefined));
      ask.end();
    });
    if (answer !== undefined) return answer;
    await new Promise(resolve => setTimeout(resolve, 200));
  }
}

guest('a forwarded port reaches a server in the guest', async () => {
  await using vm = await host.create({ network: { publish: ['0:80'] } });
  const stop = new AbortController();
  const serving = vm.exec('echo "hello from the guest" >/tmp/hello; httpd -f -p 80 -h /tmp', {
    signal: stop.signal,
  });
  serving.catch(() => {});
  const port = vm.network?.ports[0]?.hostPort;
  assert.ok(port);
  assert.equal(await fetchText(port), 'hello from the guest\n');
  stop.abort();
  await vm.destroy();
  const reason = await new Promise(resolve => {
    connect(port, '127.0.0.1').on('error', error => resolve((error as NodeJS.ErrnoException).code));
  });
  assert.equal(reason, 'ECONNREFUSED', 'the port is given back');
});

guest('IPv6: the guest has an address from the router, and reaches the host', async () => {
  const server = createServer(socket => socket.end('over six\n'));
  const isListening = await new Promise<boolean>(resolve => {
    server.on('error', () => resolve(false));
    server.listen(0, '::1', () => resolve(true));
  });
  if (!isListening) return;
  closing.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { stdout, stderr } = await run(
    `until ip -6 addr show dev eth0 | grep fd00:646f | grep -qv tentative; do sleep 0.1; done
     nc fd00:646f:6d75:73::2 ${port} </dev/null`,
    { allow: ['::1'] },
  );
  assert.equal(text(stdout), 'over six\n', text(stderr));
});

guest('two guests on a switch reach each other, until it is cut', async () => {
  const options = { network: 'switch:lan', memory: '128M', signal: AbortSignal.timeout(TIMEOUT_MS) };
  const guests: VirtualMachine[] = [await host.create(options), await host.create(options)];
  try {
    const [a, b] = guests as [VirtualMachine, VirtualMachine];
    await Promise.all(guests.map(each => each.exec('true')));
    assert.equal((await a.exec('ping -c 2 -W 30 10.0.3.2')).exitCode, 0);
    const data = pattern(2 << 20);
    const receiving = b.exec(
      // Input that does not end: at its end this nc would say so to the other, which would then give up.
      'mkfifo /tmp/hold; sleep 600 >/tmp/hold & nc -l -p 7000 </tmp/hold >/tmp/got; sha256sum /tmp/got',
    );
    const sending = a.exec('cat >/tmp/data; until nc 10.0.3.2 7000 </tmp/data; do sleep 0.2; done', {
      stdin: data,
    });
    assert.equal((await sending).exitCode, 0);
    assert.equal(text((await receiving).stdout).split(' ')[0], sha256(data));
    host.switches.find('lan').partition([['10.0.3.1'], ['10.0.3.2']]);
    assert.notEqual((await a.exec('ping -c 1 -W 2 10.0.3.2')).exitCode, 0);
    host.switches.find('lan').heal();
    assert.equal((await a.exec('ping -c 1 -W 30 10.0.3.2')).exitCode, 0);
    b.network?.setFaults({ isCut: true }, 'in');
    assert.notEqual((await a.exec('ping -c 1 -W 2 10.0.3.2')).exitCode, 0);
  } finally {
    await Promise.all(guests.map(each => each.destroy()));
  }
});

guest('a transfer over a line that is cut for a while goes on where it was', async () => {
  const contents = pattern(TRANSFER_BYTES);
  const port = await listen(createHttpServer((_, response) => response.end(contents)));
  await using vm = await host.create({
    network: { allow: ['127.0.0.1'] },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const fetching = vm.exec(
    `wget -q -O - http://10.0.2.2:${port}/file | { dd bs=4k count=16 iflag=fullblock of=/tmp/file 2>/dev/null; echo begun; sleep 1; cat >>/tmp/file; }; sha256sum /tmp/file`,
    {
      stdout: chunk => {
        heard += text(chunk);
        if (heard === 'begun\n') begun.resolve();
      },
    },
  );
  let heard = '';
  const begun = Promise.withResolvers<void>();
  await begun.promise;
  vm.network?.setFaults({ isCut: true });
  const before = vm.network?.nrLost ?? 0;
  await new Promise(resolve => setTimeout(resolve, 3000));
  const isRunning = await Promise.race([fetching.then(() => false), Promise.resolve(true)]);
  assert.ok(isRunning && (vm.network?.nrLost ?? 0) > before, 'frames were lost, and the transfer waited');
  vm.network?.setFaults({});
  await fetching;
  assert.equal(heard.split(/\s/)[1], sha256(contents));
});

guest('transfers survive a bad line, with two queues and large packets; a capture shows them', async t => {
  const contents = pattern(1 << 20);
  const port = await listen(createHttpServer((_, response) => response.end(contents)));
  const capture = join(folder, 'bad-line.pcap');
  const result = await host.run({
    command: `wget -q -O - http://10.0.2.2:${port}/file | sha256sum; ls /sys/class/net/eth0/queues; cat /sys/class/net/eth0/mtu`,
    vcpus: 2,
    network: {
      allow: ['127.0.0.1'],
      capture,
      mtu: 9000,
      faults: { loss: 0.01, reorder: 0.02, duplicate: 0.02, delayMs: 2 },
      faultSeed: 7,
    },
    timeoutMs: TIMEOUT_MS,
  });
  const lines = text(result.stdout).split('\n');
  assert.equal(lines[0]?.split(' ')[0], sha256(contents));
  assert.ok(lines.includes('rx-1') && lines.includes('tx-1'), 'a queue for each vCPU');
  assert.ok(lines.includes('9000'));
  try {
    execFileSync('tshark', ['--version'], { stdio: 'ignore' });
  } catch {
    t.diagnostic('tshark is not installed: the capture is not read by it');
    return;
  }
  const args = ['-r', capture, '-Y', 'http.response', '-T', 'fields', '-e', 'http.response.code'];
  const codes = execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  assert.match(codes, /200/);
});

guest('DHCP gives the guest the address that it has', async () => {
  const { stdout } = await run(
    `printf '#!/bin/sh\\n[ "$1" = bound ] && echo "$ip/$mask $router $dns $mtu"\\ntrue\\n' >/tmp/show; chmod 755 /tmp/show
     udhcpc -n -q -i eth0 -O mtu -s /tmp/show 2>/dev/null`,
    { mode: 'nat' },
  );
  assert.equal(text(stdout), '10.0.2.15/24 10.0.2.2 10.0.2.3 1500\n');
});

test('what cannot be is refused before anything boots', async () => {
  const cases: [string, Parameters<Host['run']>[0]][] = [
    ['E_NET_DETERMINISTIC', { command: 'true', network: 'nat', deterministic: { seed: 1 } }],
    ['E_NET_MODE', { command: 'true', network: 'bridge' }],
    ['E_NET_MODE', { command: 'true', network: { mode: 'none', publish: ['1:2'] } }],
    ['E_NET_RULE', { command: 'true', network: { allow: ['not a name'] } }],
    ['E_NET_FORWARD', { command: 'true', network: { publish: ['80'] } }],
    ['E_NET_MTU', { command: 'true', network: { mtu: 100 } }],
    ['E_NET_ADDRESS', { command: 'true', network: { mode: 'nat', mac: '01:00:00:00:00:00' } }],
    ['E_NET_FAULT', { command: 'true', network: { faults: { loss: 7 } } }],
    ['E_FILE_WRITE', { command: 'true', network: { capture: join(folder, 'none', 'x.pcap') } }],
  ];
  for (const [code, options] of cases) await assert.rejects(host.run(options), { code });
});

guest('a port that is taken is named', async () => {
  const port = await listen(createServer());
  await assert.rejects(run('true', { publish: [`${port}:80`] }), { code: 'E_NET_LISTEN' });
});
