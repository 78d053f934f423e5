import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const skip = process.platform === 'linux' ? false : 'Node ends processes in its own way elsewhere';
const MODULE = JSON.stringify(new URL('end-process.ts', import.meta.url).href);
const TIMEOUT_MS = 60_000;

/** A program that has `endProcess`; it is a user's shell that starts it, and looks at what it got back. */
function run(program: string, shell = '"$0" "$@"', input?: string) {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e'];
  const source = `import { endProcess } from ${MODULE};\n${program}`;
  return spawnSync('/bin/sh', ['-c', shell, process.execPath, ...args, source], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
    ...(input !== undefined && { input }),
  });
}

test('a process ends with its code while compilers have minutes of work left', { skip }, () => {
  // One function of 7 MB, for V8's second compiler alone.
  const { status, signal, stdout, stderr } = run(`
    import { setFlagsFromString } from 'node:v8';
    for (const flag of ['--no-liftoff', '--no-wasm-lazy-compilation']) setFlagsFromString(flag);
    const leb = n => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
    const section = (id, content) => [id, ...leb(content.length), ...content];
    const piece = Buffer.from([0x20, 0, 0x41, 1, 0x6a, 0x04, 0x40, 0x20, 1, 0x41, 1, 0x6a, 0x21, 1, 0x0b]);
    const pieces = Buffer.alloc(piece.length * 450_000, piece);
    const [locals, end] = [[1, 1, 0x7f], [0x20, 1, 0x0b]];
    const size = leb(locals.length + pieces.length + end.length);
    const code = leb(1 + size.length + locals.length + pieces.length + end.length);
    const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7f]), ...section(3, [1, 0])];
    const bytes = Buffer.concat([Buffer.from([...head, 10, ...code, 1, ...size, ...locals]), pieces, Buffer.from(end)]);
    let state = 'under way';
    WebAssembly.compile(bytes).then(() => (state = 'done'), error => (state = String(error)));
    const others = () => process.cpuUsage().user - process.threadCpuUsage().user;
    const before = others();
    const wait = () => {
      if (others() - before < 200_000 && state === 'under way') return setTimeout(wait, 20);
      console.log(state);
      endProcess(3);
    };
    wait();
  `);
  assert.deepEqual({ status, signal, stdout }, { status: 3, signal: null, stdout: 'under way\n' }, stderr);
});

test('exit listeners have run, and the code is one byte', { skip }, () => {
  const { status, stdout } = run(
    `process.on('exit', code => console.log('listener', code)); endProcess(0x102);`,
  );
  assert.deepEqual([status, stdout], [2, 'listener 258\n']);
});

const LOOK = 'grep flags /proc/self/fdinfo/0 /proc/self/fdinfo/1 /proc/self/fdinfo/2';
const USES: Readonly<Record<string, string>> = {
  'reads all of its input': 'for await (const chunk of process.stdin); process.stdout.write("");',
  'reads some of its input': 'for await (const chunk of process.stdin) break; process.stderr.write("");',
  'has streams and does not use them': 'process.stdin; process.stdout; process.stderr;',
};
for (const [what, program] of Object.entries(USES))
  test(`a process that ${what} gives its pipes back as they came`, { skip }, () => {
    const { stdout, stderr } = run(`${program} endProcess(0);`, `${LOOK}; "$0" "$@"; ${LOOK}`, 'input\n');
    const lines = stdout.trim().split('\n');
    assert.equal(lines.length, 6, stderr);
    assert.deepEqual(lines.slice(3), lines.slice(0, 3));
    for (const line of lines)
      assert.equal(Number.parseInt(String(line.split(':').at(-1)), 8) & 0o4000, 0, line);
  });

test('a process whose streams are closed, or no pipes, ends as well', { skip }, () => {
  const use =
    'process.stdin.on("error", () => {}).resume(); process.stderr.on("error", () => {}); endProcess(4);';
  for (const shell of ['"$0" "$@" <&- 2>&-', '"$0" "$@" </dev/null >/dev/null', '"$0" "$@" <"$0"'])
    assert.equal(run(use, shell).status, 4, shell);
});

const hasScript = spawnSync('script', ['--version']).stdout?.toString().includes('util-linux') ?? false;
const skipTerminal = skip || (hasScript ? false : 'script (util-linux) is not installed');

test('a terminal whose input was read, and closed, is given back', { skip: skipTerminal }, () => {
  const program = join(mkdtempSync(join(tmpdir(), 'domus-end-')), 'program.mjs');
  const use =
    'for await (const chunk of process.stdin) break; process.on("exit", () => console.log("ends")); endProcess(6);';
  writeFileSync(program, `import { endProcess } from ${MODULE};\n${use}`);
  const line = `${LOOK}; "${process.execPath}" "${program}"; echo "code $?"; ${LOOK}`;
  const { stdout } = spawnSync('script', ['-qec', line, '/dev/null'], {
    ...{ input: 'typed\n', encoding: 'utf8', timeout: TIMEOUT_MS, killSignal: 'SIGKILL' },
  });
  rmSync(join(program, '..'), { recursive: true });
  assert.match(stdout, /ends\s+code 6/);
  const flags = stdout.match(/flags:\s+\d+/g) ?? [];
  assert.equal(flags.length, 6, stdout);
  assert.deepEqual(flags.slice(3), flags.slice(0, 3));
});
