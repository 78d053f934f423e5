/** The command as users meet it: a process with streams and an exit code. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sampleImage, writeLayout } from '../image/oci/sample.fixture.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { VERBS } from './verbs/index.ts';

const DOMUS = fileURLToPath(new URL('../../bin/domus.js', import.meta.url));
const FAKE = fileURLToPath(new URL('./fake-domus.fixture.ts', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'domus-cli-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** No command of these takes more than a second where nothing else runs. */
const TIMEOUT_MS = 300_000;

interface Outcome {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

interface Invocation {
  input?: string;
  env?: Record<string, string>;
  cwd?: string;
  /** Called with everything on stdout so far. */
  onStdout?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
}

function invoke(
  file: string,
  args: readonly string[],
  { input = '', env = {}, cwd, onStdout }: Invocation = {},
) {
  return new Promise<Outcome>(resolve => {
    const child = spawn(process.execPath, [file, ...args], {
      ...{ cwd, timeout: TIMEOUT_MS, killSignal: 'SIGKILL' },
      env: {
        ...process.env,
        DOMUS_CACHE: join(scratch, 'cache'),
        DOMUS_STATE: join(scratch, 'state'),
        ...env,
      },
    });
    const outcome: Outcome = { code: null, signal: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', text => {
      outcome.stdout += text;
      onStdout?.(outcome.stdout, signal => child.kill(signal));
    });
    child.stderr.setEncoding('utf8').on('data', text => {
      outcome.stderr += text;
    });
    child.on('close', (code, signal) => resolve({ ...outcome, code, signal }));
    child.stdin.end(input);
  });
}

/** What the host process of a state folder says of itself. */
function daemonVersion(folder: string): Promise<{ processId: number }> {
  const authorization = `Bearer ${readFileSync(join(folder, 'daemon.token'), 'utf8')}`;
  return new Promise((resolve, reject) => {
    const call = { socketPath: join(folder, 'daemon.sock'), path: '/v1/version', headers: { authorization } };
    get(call, response => {
      response.setEncoding('utf8').on('data', text => resolve(JSON.parse(text)));
    }).on('error', reject);
  });
}

/** It may have ended by itself, without a guest for long enough. */
async function endHostProcess(folder: string): Promise<void> {
  const version = await daemonVersion(folder).catch(error => {
    if (error.code !== 'ENOENT' && error.code !== 'ECONNREFUSED') throw error;
  });
  if (version) process.kill(version.processId, 'SIGTERM');
}

const domus = (...args: string[]) => invoke(DOMUS, args);
const fake = (args: string[], options?: Invocation) => invoke(FAKE, args, options);

test('help: general, of every verb, and the exit codes, all on standard output', async () => {
  const general = await domus('--help');
  assert.equal(general.code, 0);
  assert.equal(general.stderr, '');
  for (const verb of VERBS) assert.match(general.stdout, new RegExp(`^ {2}${verb.name} +\\S`, 'm'));
  for (const verb of VERBS) {
    const help = await domus(verb.name, '--help');
    assert.equal(help.code, 0);
    for (const spec of Object.values(verb.options))
      assert.ok(help.stdout.includes(`--${spec.name}`), spec.name);
    assert.ok(help.stdout.split('\n').every(line => line.length <= 110));
  }
  const codes = await domus('--help', 'exit-codes');
  for (const [code] of EXIT_CODES)
    assert.match(codes.stdout, new RegExp(`^ {2}${code.replace('+', '\\+')} `, 'm'));
});

test('version: text and JSON', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const text = await domus('--version');
  assert.match(text.stdout, new RegExp(`^domus ${version} `));
  assert.equal(JSON.parse((await domus('version', '-o', 'json')).stdout).domus, version);
});

/** Arguments, exit code, and the one line on standard error. */
const MISTAKES: readonly (readonly [args: readonly string[], code: number, line: RegExp])[] = [
  [[], 2, /no verb is given; "domus --help"/],
  [['rnu'], 2, /no verb "rnu"; did you mean "domus run"\?/],
  [['--frobnicate'], 2, /unknown option --frobnicate; "domus --help"/],
  [['--help', 'nothing'], 2, /no verb "nothing"/],
  [['doctor', '--frobnicate'], 2, /unknown option --frobnicate; "domus doctor --help"/],
  [['doctor', 'now'], 2, /doctor takes no operand "now"/],
  [['doctor', '-o', 'xml'], 2, /no output format "xml"; use -o text or -o json/],
  [['cache', 'melt'], 2, /cache cannot "melt"/],
  [['run', '--memroy', '1G', 'true'], 125, /unknown option --memroy; did you mean --memory\?/],
  [['run', '-m', '1M', 'true'], 125, /1 MiB of memory; choose a size from 16 MiB/],
  [['run', '--memory=1024G', 'true'], 125, /more memory than one machine can have; choose/],
  [['run', '-m', 'much', 'true'], 125, /"much" is not a size; write/],
  [['run', '--vcpus', '10000', 'true'], 125, /cannot have 10000 vCPUs; choose a number from 1 to 128/],
  [['run', '--vcpus', '-1', 'true'], 125, /"-1" is not a number of vCPUs/],
  [['run', '--engine', 'jit', 'true'], 125, /no engine named "jit"; use/],
  [['run', '-v', '/tmp', 'true'], 125, /does not say where in the guest; write HOSTDIR:GUESTDIR/],
  [['run', '-v', '/tmp:/b:rx', 'true'], 125, /"rx" means nothing here; write HOSTDIR:GUESTDIR/],
  [['run', '-v', '/no-such-folder:/b', 'true'], 125, /there is no folder \/no-such-folder; check its name/],
  [['run', '--timeout', 'soon', 'true'], 125, /"soon" is not a duration; write/],
  [['run', '-e', '=x', 'true'], 125, /sets no variable; write -e NAME=VALUE/],
  [['run', '--gdb', '70000', 'true'], 125, /no port 70000; choose/],
  [['run', '--trace', 'thoughts', 'true'], 125, /cannot be traced; use/],
  [['run', '--seed', '1', 'true'], 125, /--seed has no effect alone; add --deterministic/],
  [['run', '--min-memory', '64M', 'true'], 125, /--min-memory and --max-memory are for -d; add -d/],
  [['run', '-d', '--min-memory', '1M', 'true'], 125, /1 MiB of memory; choose/],
  [['mem-auto', 'web', '64m', '128m'], 2, /these words are too many; see/],
  [['mem-auto', 'web', 'much'], 2, /"much" is no amount of memory; write/],
  [['mem-auto', '--budget', '1x'], 2, /"1x" is no amount of memory; write/],
  [['run', '-it', 'true'], 125, /needs a terminal as standard input; leave out -t/],
  [['run', '--console', '/nonexistent/file', 'true'], 125, /no such file or directory; choose/],
  [
    ['run', '-q', '--kernel', '/nonexistent/vmlinuz', 'true'],
    125,
    /cannot read the kernel .*no such file or directory; check/,
  ],
  [['run', '-q', '--kernel', '/tmp', 'true'], 125, /cannot read the kernel \/tmp: it is a folder; check/],
  [['run', '-q', '--kernel', '/dev/zero', 'true'], 125, /\/dev\/zero: it is no regular file; check/],
  [
    ['run', '-q', '--kernel', FAKE, 'true'],
    125,
    /not a kernel: neither an ELF image nor a bzImage; give a bzImage/,
  ],
  [['run', '-d', '-t', 'true'], 125, /--tty cannot be used with -d; leave/],
  [['run', '-d'], 125, /nothing to run; give a COMMAND/],
  [['run', '--name', 'web', 'true'], 125, /--name, --label and --rm are for -d; add -d/],
  [['run', '-d', '--name', '7', 'true'], 125, /"7" cannot be the name of a guest; use/],
  [['exec', 'web'], 125, /exec needs a guest and a COMMAND; for/],
  [['exec', '-it', 'web', 'sh'], 125, /needs a terminal as standard input; leave out -t/],
  [['logs'], 2, /logs needs the name of one guest; "domus list"/],
  [['logs', '--since', 'soon', 'web'], 2, /"soon" is not a duration; write/],
  [['destroy'], 2, /destroy needs names of guests, or --all; "domus list"/],
  [['wait'], 2, /wait for what\?; name/],
  [['run', '-m'], 125, /--memory needs a value; write --memory SIZE/],
  [['run', '-q'], 125, /nothing to run; give a COMMAND/],
];

for (const [args, code, line] of MISTAKES) {
  test(`a mistake is one line that says how to mend it: domus ${args.join(' ')}`, async () => {
    const outcome = await domus(...args);
    assert.match(outcome.stderr, line);
    assert.match(outcome.stderr, /^domus: [^\n]+; [^\n]+\n$/);
    assert.equal(outcome.stdout, '');
    assert.equal(outcome.code, code);
  });
}

test('doctor: every line has a name, a status and, when something is wrong, a remedy', async () => {
  const outcome = await domus('doctor', '-o', 'json');
  const { ok, checks } = JSON.parse(outcome.stdout);
  assert.equal(outcome.code, ok ? 0 : 1);
  const names = checks.map((check: { name: string }) => check.name);
  for (const name of [
    'runtime',
    'WebAssembly',
    'machine memory',
    'packages',
    'cache',
    'gcc',
    'KVM',
    'memory',
  ]) {
    assert.ok(names.includes(name), name);
  }
  for (const check of checks) {
    assert.match(check.status, /^(ok|warn|fail|info)$/);
    assert.notEqual(check.found, '');
    if (check.status === 'warn' || check.status === 'fail') assert.ok(check.remedy, check.name);
  }
});

test('doctor: what is missing is found, and exits with 1', async () => {
  const cache = await invoke(DOMUS, ['doctor'], {
    env: { DOMUS_CACHE: '/proc/nowhere', PATH: '/nonexistent' },
  });
  assert.equal(cache.code, 1);
  assert.match(cache.stdout, /^fail cache .*\n +-> set DOMUS_CACHE/m);
  assert.match(cache.stdout, /^warn packages .*\n +-> use local files: domus run --kernel FILE/m);
  assert.match(cache.stdout, /^info gcc .*not installed/m);
});

test('run: streams stay apart and the exit code is the command’s', async () => {
  const outcome = await fake(['run', '-q', 'both']);
  assert.deepEqual(outcome, { code: 7, signal: null, stdout: 'to stdout\n', stderr: 'to stderr\n' });
  for (const code of [0, 1, 126, 127, 137, 255]) {
    assert.equal((await fake(['run', '-q', '--', 'exit', String(code)])).code, code);
  }
});

test('run: standard input is passed in, options after the command are the command’s', async () => {
  const input = 'x'.repeat(100_000);
  const outcome = await fake(['run', '-q', 'cat', '--help', '-m', '1M'], { input });
  assert.equal(outcome.code, 0);
  assert.equal(outcome.stdout, input);
});

test('run: progress is plain lines on standard error, none with -q', async () => {
  const outcome = await fake(['run', 'exit', '0']);
  assert.match(outcome.stderr, /^domus: kernel: .*\ndomus: machine: .*\ndomus: boot: .*\n$/);
  assert.ok(!outcome.stderr.includes('\x1b'));
  assert.equal((await fake(['run', '-q', 'exit', '0'])).stderr, '');
});

test('run: -e, -o json', async () => {
  const env = await fake(['run', '-q', '-e', 'A=1', '--env=B=x=y', 'env']);
  assert.deepEqual(JSON.parse(env.stdout), { A: '1', B: 'x=y' });
  const json = await fake(['run', '-q', '-o', 'json', 'both']);
  const { exitCode, stdout, stderr, instructions } = JSON.parse(json.stdout);
  assert.deepEqual([exitCode, stdout, stderr, instructions], [7, 'to stdout\n', 'to stderr\n', 1234]);
  assert.equal(json.code, 7);
});

test('run: a time-out is 124 and shows the console', async () => {
  const outcome = await fake(['run', '-q', '--timeout', '300ms', 'hang']);
  assert.equal(outcome.code, 124);
  assert.match(outcome.stderr, /^domus: timed out after 0\.3 s while the command was running; /);
  assert.match(outcome.stderr, /fake kernel says hello/);
});

test('run: a crash is 125 with registers, call trace and console', async () => {
  const outcome = await fake(['run', '-q', 'crash']);
  assert.equal(outcome.code, 125);
  assert.match(outcome.stderr, /^domus: the guest crashed \(crash: triple fault\)\n/);
  assert.match(outcome.stderr, /rip ffffffff81000000/);
  assert.match(outcome.stderr, /panic\+0x10/);
  assert.match(outcome.stderr, /fake kernel says hello/);
});

test('run: Ctrl-C ends the run with 130 and destroys the guest, SIGTERM with 143', async () => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const marker = join(scratch, signal);
    const outcome = await fake(['run', '-q', 'hang'], {
      env: { FAKE_DESTROYED: marker },
      onStdout: (text, kill) => {
        if (text === 'started\n') kill(signal);
      },
    });
    assert.equal(outcome.code, code);
    assert.equal(outcome.signal, null);
    assert.equal(readFileSync(marker, 'utf8'), 'true');
  }
});

test('run: a guest of the user’s own has its console on standard output and ends with 0', async () => {
  const outcome = await fake(['run', '-q', '--initrd', '/some/file']);
  assert.equal(outcome.code, 0);
  assert.equal(outcome.stdout, 'fake kernel says hello\n');
});

test('run: --console writes the console to a file, --deterministic reports the state', async () => {
  const file = join(scratch, 'console.log');
  const outcome = await fake(['run', '--deterministic', '--seed', '9', '--console', file, 'exit', '0']);
  assert.equal(outcome.code, 0);
  assert.equal(readFileSync(file, 'utf8'), 'fake kernel says hello\n');
  assert.match(outcome.stderr, /domus: 1234 instructions, state c0ffee\n$/);
});

test('run -d: the guest stays, other commands reach it, and SIGKILL of its host process is told', async () => {
  const { code, stdout } = await fake(['run', '-q', '-d', '--name', 'web', 'hang']);
  assert.deepEqual([code, stdout], [0, 'web\n']);
  const both = await fake(['exec', 'web', '--', 'both']);
  assert.deepEqual([both.code, both.stdout, both.stderr], [7, 'to stdout\n', 'to stderr\n']);
  const input = 'y'.repeat(200_000);
  const cat = await fake(['exec', '-i', 'web', 'cat', '-q'], { input });
  assert.deepEqual([cat.code, cat.stdout === input], [0, true]);
  assert.equal((await fake(['logs', 'web'])).stdout, 'started\n');
  assert.match((await fake(['logs', '-ct', 'web'])).stdout, /^\d{4}-\S+Z fake kernel says hello\n$/);
  assert.match((await fake(['list'])).stdout, /\nweb +1 +512 +1 +-b---- +0\.0 +hang\n$/);
  const { processId } = await daemonVersion(join(scratch, 'state'));
  process.kill(processId, 'SIGKILL');
  const [left] = JSON.parse((await fake(['list', '-o', 'json'])).stdout);
  assert.deepEqual([left.name, left.state], ['web', 'lost']);
  const late = await fake(['exec', 'web', 'both']);
  assert.equal(late.code, 125);
  assert.match(
    late.stderr,
    /^domus: the guest web is not running: its host process was ended[^\n]*; "domus logs web"/,
  );
  assert.equal((await fake(['logs', 'web'])).stdout, 'started\n');
  assert.equal((await fake(['destroy', '--all'])).code, 0);
  assert.match((await fake(['list'])).stdout, /^Name[^\n]*\n$/);
  await endHostProcess(join(scratch, 'state'));
});

test('mem-auto: who has how much, for people and for programs; changed, and refused', async () => {
  const size = ['-m', '128M', '--min-memory', '64M', '--max-memory', '256M'];
  assert.equal((await fake(['run', '-q', '-d', '--name', 'web', ...size, 'hang'])).code, 0);
  assert.equal((await fake(['run', '-q', '-d', '--name', 'other', '-m', '64M', 'hang'])).code, 0);
  const shown = (await fake(['mem-auto'])).stdout;
  assert.match(shown, /^Name +ID +Min +Usual +Max +Needed +Target +Mem\n/);
  assert.match(shown, /\nweb +\d+ +64 +128 +256 +- +128 +128\nother +\d+ +- +- +64 +- +64 +64\n/);
  assert.match(shown, /\nbudget: 128 MiB, what they usually have; 128 MiB are with guests\n$/);
  const small = await fake(['mem-auto', '--budget', '63']);
  assert.deepEqual([small.code, small.stdout], [1, '']);
  assert.match(small.stderr, /^domus: 63 MiB are not enough [^\n]*; [^\n]+\n$/);
  assert.equal((await fake(['mem-auto', '--budget', '1g'])).code, 0);
  assert.match((await fake(['mem-auto', 'web'])).stdout, /\nbudget: 1024 MiB; /);
  assert.equal((await fake(['mem-auto', 'web', 'off'])).code, 0);
  const { isFixed, guests } = JSON.parse((await fake(['mem-auto', 'web', '-o', 'json'])).stdout);
  assert.deepEqual([isFixed, guests.length, guests[0].balance], [true, 1, undefined]);
  assert.equal((await fake(['mem-auto', 'nobody'])).code, 1);
  assert.equal((await fake(['destroy', '--all'])).code, 0);
  await endHostProcess(join(scratch, 'state'));
});

test('create: a file of xl’s, words of the command line, and what of them has no effect', async () => {
  const file = join(scratch, 'web.cfg');
  writeFileSync(file, 'name = "web"\nkernel = "/k"\nmemory = 64\nmaxmem = 128\nvcpus = 2\nvnc = 1\n');
  const dry = await fake(['create', '-n', file, 'memory=32', 'extra="a b"', '--label', 'tier=front']);
  const { memory, maxMemory, append, labels } = JSON.parse(dry.stdout);
  assert.deepEqual([memory, maxMemory, append, labels], [32 << 20, 128 << 20, 'a b', { tier: 'front' }]);
  assert.match(dry.stderr, /^domus: warning: \S+web\.cfg:6: vnc: has no effect: guests have no screen/);
  const created = await fake(['create', '-q', file]);
  assert.deepEqual([created.code, created.stdout], [0, '']);
  // It ended by itself; its name can be used again.
  assert.equal((await fake(['wait', 'web'])).stdout, 'exited\n');
  assert.equal((await fake(['create', file])).stdout, 'web\n');
  const refused = await fake(['create', file, 'type=hvm']);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /^domus: command line:1: type: guests of type "hvm" [^\n]*; use type="pvh"/);
  assert.equal((await fake(['destroy', '--all'])).code, 0);
  await endHostProcess(join(scratch, 'state'));
});

test('run -d IMAGE: the image says what runs, named by a path from where the command is; it is gone with the guest', async () => {
  writeLayout(
    join(scratch, 'layout'),
    sampleImage([[{ name: 'etc/motd', data: 'hello' }]], { Env: ['WHO=image'], Cmd: ['env'] }),
  );
  const cache = join(scratch, 'image-cache');
  const here: Invocation = { cwd: scratch, env: { DOMUS_CACHE: cache } };
  const run = async (...args: string[]) => {
    const outcome = await fake(['run', '-q', '-d', '-o', 'json', ...args], here);
    assert.equal(outcome.code, 0, outcome.stderr);
    return JSON.parse(outcome.stdout);
  };
  const image = `oci:${join(scratch, 'layout')}`;
  const { command, ...usual } = await run('--name', 'usual', 'oci:layout');
  assert.deepEqual([usual.image, command], [image, ['env']]);
  assert.equal((await fake(['wait', 'usual'])).stdout, '0\n');
  assert.match((await fake(['logs', 'usual'])).stdout, /"WHO":"image"/);
  const runs = join(cache, 'runs');
  assert.deepEqual(readdirSync(runs), []);
  await run('--name', 'long', 'oci:layout', '--', 'hang');
  assert.equal(readdirSync(runs).length, 1);
  assert.match((await fake(['exec', 'long', 'env'])).stdout, /"WHO":"image"/);
  assert.equal((await fake(['destroy', 'long', 'usual'])).code, 0);
  assert.deepEqual(readdirSync(runs), []);
  const unknown = await fake(['run', '-q', '-d', 'oci:layout:missing'], here);
  assert.deepEqual([unknown.code, unknown.stdout], [125, '']);
  assert.match(unknown.stderr, /^domus: .*missing/);
  assert.match((await fake(['list'])).stdout, /^Name[^\n]*\n$/);
  await endHostProcess(join(scratch, 'state'));
});

test('cache: shows the folder, and empties it of its own files only', async () => {
  const folder = join(scratch, 'another-cache');
  const env = { DOMUS_CACHE: folder };
  mkdirSync(join(folder, 'objects'), { recursive: true });
  writeFileSync(join(folder, 'objects', 'kernel'), new Uint8Array(5000));
  writeFileSync(join(folder, 'precious'), 'not of Domus');
  const shown = JSON.parse((await invoke(DOMUS, ['cache', '-o', 'json'], { env })).stdout);
  assert.deepEqual(shown, { folder, sizeBytes: 5012 });
  assert.equal((await invoke(DOMUS, ['cache', 'clean'], { env })).code, 0);
  assert.deepEqual(readdirSync(folder), ['precious']);
});

test('web: prints its address, serves the page, and ends with Ctrl-C', async () => {
  let answer: Promise<{ status: number; text: string }> | undefined;
  const outcome = await fake(['web', '--no-open'], {
    onStdout(text, kill) {
      const address = /^(http:\/\/127\.0\.0\.1:\d+\/)#token=[0-9a-f]{64}\n$/.exec(text)?.[1];
      if (address === undefined || answer) return;
      answer = fetch(address).then(async reply => ({ status: reply.status, text: await reply.text() }));
      void answer.finally(() => kill('SIGINT'));
    },
  });
  assert.deepEqual([outcome.code, outcome.stderr], [0, '']);
  const page = await answer;
  assert.equal(page?.status, 200);
  assert.match(page?.text ?? '', /<title>Domus<\/title>/);
});
