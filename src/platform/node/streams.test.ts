/** Standard input, whatever it is. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

const folder = mkdtempSync(join(tmpdir(), 'domus-streams-'));
after(() => rmSync(folder, { recursive: true }));

const PROGRAM = `
import { descriptorKind } from ${JSON.stringify(new URL('./descriptors.ts', import.meta.url).href)};
import { standardInput, standardOutput } from ${JSON.stringify(new URL('./streams.ts', import.meta.url).href)};
const output = standardOutput();
await output.write(new TextEncoder().encode(descriptorKind(0) + ':'));
for await (const chunk of standardInput()) await output.write(chunk);
`;

/** What a process says of its standard input, and what it reads from it. */
async function seen(input: number | 'pipe' | 'ignore', text = ''): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], {
    stdio: [input, 'pipe', 'inherit'],
  });
  child.stdin?.end(text);
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout ?? []) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

test('a pipe, the null device and a file are read to their ends', async () => {
  const text = 'x'.repeat(200_000);
  assert.equal(await seen('pipe', text), `other:${text}`);
  assert.equal(await seen('ignore'), 'null:');
  writeFileSync(join(folder, 'input'), text);
  const fd = openSync(join(folder, 'input'), 'r');
  assert.equal(await seen(fd), `file:${text}`);
  closeSync(fd);
});

test('a file is read on from where its reader stands', async () => {
  writeFileSync(join(folder, 'half'), 'first second');
  const fd = openSync(join(folder, 'half'), 'r');
  readSync(fd, new Uint8Array(6), 0, 6, null);
  assert.equal(await seen(fd), 'file:second');
  closeSync(fd);
});
