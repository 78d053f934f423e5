/** Terminal behaviour on a real pseudo-terminal, made by script(1). */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const FAKE = fileURLToPath(new URL('./fake-domus.fixture.ts', import.meta.url));
const hasScript = spawnSync('script', ['--version']).stdout?.toString().includes('util-linux') ?? false;
const skip = hasScript ? false : 'needs script(1) of util-linux';

const TIMEOUT_MS = 300_000;

/**
 * Run the command between two `stty -a`; `keys` are typed when `cue` has appeared. Ctrl-C reaches the shell too, which
 * some shells do not survive without a trap.
 */
function onTerminal(args: string, cue: string, keys: string): Promise<string> {
  const { CI: _, ...env } = process.env;
  const line = `trap : INT; stty -a; "${process.execPath}" "${FAKE}" ${args}; echo "code $?"; stty -a`;
  return new Promise(resolve => {
    const child = spawn('script', ['-qec', line, '/dev/null'], {
      env: { ...env, TERM: 'xterm' },
      ...{ timeout: TIMEOUT_MS, killSignal: 'SIGKILL' },
    });
    let output = '';
    let isTyped = false;
    child.stdout.setEncoding('utf8').on('data', text => {
      output += text;
      if (isTyped || !output.includes(cue)) return;
      isTyped = true;
      child.stdin.write(keys);
    });
    child.on('close', () => resolve(output));
  });
}

/** The modes before and after must be the same, and canonical. */
function assertRestored(output: string): void {
  const modes = output.match(/speed [\s\S]*?echoke[^\r\n]*/g) ?? [];
  assert.equal(modes.length, 2, output);
  assert.equal(modes[0], modes[1]);
  assert.match(modes[0] ?? '', / icanon/);
}

test('-it: keys go to the guest, Ctrl-C too, and Ctrl-] leaves', { skip }, async () => {
  const output = await onTerminal('run -q -it hello-cat', 'started', 'abc\x03\x1dnever');
  assert.ok(output.includes('abc\x03'));
  assert.ok(!output.includes('never'));
  assert.match(output, /code 0/);
  assertRestored(output);
});

test('-it: the terminal is restored after a crash of the guest', { skip }, async () => {
  const output = await onTerminal('run -q -it crash', 'never', '');
  assert.match(output, /the guest crashed[\s\S]*code 125/);
  assertRestored(output);
});

test('without -t, Ctrl-C ends the run with 130', { skip }, async () => {
  const output = await onTerminal('run -q hang', 'started', '\x03');
  assert.match(output, /code 130/);
  assertRestored(output);
});

test('progress is one line that is rewritten, and gone before output begins', { skip }, async () => {
  const output = await onTerminal('run both', 'never', '');
  const plain = output.replaceAll('\x1b', '<esc>');
  assert.match(plain, /\r<esc>\[K.*domus: boot: .* s.*\r<esc>\[Kto stdout/);
});
