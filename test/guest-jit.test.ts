/**
 * Guests whose programs write their own code: LuaJIT and Node out of Debian's packages. Each runs the same program with its compiler and
 * without it; the results must be the same, on one thread and on two, and with the tiers in lockstep. The packages are some 60 MB: only in
 * `npm run test:full`.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Host, type MachineOptions, type VirtualMachine } from '../src/toolstack/index.ts';

const TIMEOUT_MS = 1_200_000;
const IMAGE = 'domus-test-jit:latest';

/** Traces that are made, left by guards that fail, and made anew; code that is thrown away as a whole. */
const LUA = `local function mix(n)
  local s, t = 0, {}
  for i = 1, n do
    local v = i % 7 == 0 and i / 3 or bit.bxor(i, s % 65536)
    t[#t + 1] = v
    s = (s * 31 + v) % 4294967291
    if i % 1000 == 0 then table.sort(t); s = s + #table.concat(t, ','); t = {} end
  end
  return s
end
for round = 1, 4 do
  print(round, mix(30000))
  if round % 2 == 0 and jit.status() then jit.flush() end
end
print((jit.status() and 'compiled' or 'interpreted'))`;

/** Functions that are compiled, deoptimised by values of another type, and replaced; a module of WebAssembly; regular expressions. */
const JS = `let seed = 1;
const next = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0);
const add = (a, b) => a + b;
let sum = 0;
for (let i = 0; i < 300000; i++) sum = add(sum, next() % 1000);
let text = '';
for (let i = 0; i < 2000; i++) text = add(text, String.fromCharCode(97 + (next() >>> 16) % 26));
const big = Array.from({ length: 200 }, (_, i) => BigInt(next()) ** BigInt(i % 9)).reduce((a, b) => a ^ b);
const made = [];
for (let k = 0; k < 60; k++) {
  const f = new Function('x', 'let s = x; for (let i = 0; i < 3000; i++) s = (s * ' + (k + 3) + ' + i) | 0; return s;');
  made.push(f(k));
}
const map = new Map();
for (let i = 0; i < 50000; i++) map.set(next() % 5000, (map.get(i % 5000) ?? 0.5) * 1.25 % 1e6);
const floats = new Float64Array(4096).map((_, i) => Math.sqrt(i) * Math.sin(i));
const matches = text.match(/[aeiou]+[^aeiou]{2,3}(?=[m-z])/g).length;
console.log(sum, text.length, big, made.reduce((a, b) => a ^ b), map.size, floats.reduce((a, b) => a + b), matches);`;

/** A module of WebAssembly with a function that adds up squares in a loop: its bytes, section by section. */
const MODULE = [
  '0061736d01000000', // magic, version
  '01060160017f017f', // types: (i32) -> i32
  '03020100', // functions: one of that type
  '07050101660000', // exports: f
  // code: loop { s += n * n } while (--n); s
  '0a1e011c01017f0340200020006c20016a2101200041016b22000d000b20010b',
].join('');
const WASM = `const { f } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from('${MODULE}', 'hex'))).exports;
let s = 0; for (let i = 0; i < 400; i++) s = (s + f(1000 + i)) | 0;
console.log(s);`;

async function say(vm: VirtualMachine, command: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await vm.exec(command);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assert.equal(exitCode, 0, `${command[0]}: ${text(stdout)}${text(stderr)}`);
  return text(stdout);
}
const sumOfSquares = (n: number): number => {
  let sum = 0;
  for (let i = 1; i <= n; i++) sum = (sum + Math.imul(i, i)) | 0;
  return sum;
};

const full = (name: string, run: (host: Host, t: TestContext) => Promise<void>) =>
  test(name, {
    timeout: TIMEOUT_MS,
    skip: !process.env.DOMUS_TEST_FULL && 'only in npm run test:full',
  }, async t => {
    await using host = await Host.open();
    const image = { reference: 'debian:12', include: ['luajit', 'nodejs'], name: IMAGE, refresh: true };
    await host.images.obtain(image);
    await run(host, t);
  });
/** LuaJIT with its compiler and without it. */
async function compareLua(vm: VirtualMachine): Promise<void> {
  const compiled = await say(vm, ['luajit', '-e', LUA]);
  const interpreted = await say(vm, ['luajit', '-joff', '-e', LUA]);
  assert.match(compiled, /^1\t[\d.]+\n[\s\S]*\ncompiled\n$/);
  assert.equal(interpreted, compiled.replace('compiled', 'interpreted'));
}

const guests: Record<string, MachineOptions> = { one: {}, two: { vcpus: 2, pcpus: 2 } };
for (const [threads, options] of Object.entries(guests)) {
  full(
    `LuaJIT and Node compute what they compute without their compilers, threads: ${threads}`,
    async (host, t) => {
      const vm = await host.create({ image: IMAGE, network: 'none', memory: '768M', ...options });
      await compareLua(vm);
      const fast = await say(vm, ['node', '-e', JS]);
      assert.match(fast, /^\d+ 2000 /);
      assert.equal(await say(vm, ['node', '--jitless', '-e', JS]), fast);
      const sums = Array.from({ length: 400 }, (_, i) => sumOfSquares(1000 + i));
      assert.equal(await say(vm, ['node', '-e', WASM]), `${sums.reduce((a, b) => (a + b) | 0)}\n`);
      t.diagnostic(fast.trim());
      await vm.destroy();
    },
  );
}

full('LuaJIT, with the tiers in lockstep', async host => {
  const image = await host.create({ image: IMAGE, network: 'none' });
  // Machines in lockstep have no disks: what it needs goes to their memory.
  const files = 'tar -chf - $(which luajit) $(ldd $(which luajit) | grep -o "/lib[^ ]*")';
  const { exitCode, stdout } = await image.exec(files);
  assert.equal(exitCode, 0);
  await image.destroy();
  const vm = await host.create({ engine: 'lockstep', deterministic: { seed: 1 } });
  const { exitCode: unpacked } = await vm.exec('tar -xf - -C /', { stdin: stdout });
  assert.equal(unpacked, 0);
  await compareLua(vm);
  await vm.destroy();
});
