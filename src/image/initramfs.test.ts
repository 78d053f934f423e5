import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCpio } from './archive/cpio.ts';
import { openImageCache } from './cache.ts';
import { hasCode, tool } from './fuzz.fixture.ts';
import { GUEST_INIT } from './guest-init/init.ts';
import { buildInitramfs, busyboxApplets } from './initramfs.ts';

const NONE = new Uint8Array(0);
/** What a busybox binary looks like to us. */
const BUSYBOX = new TextEncoder().encode('\x7fELF [ x\0junk\0[\0[[\0acpid\0ash\0busybox\0zcat\0\0rodata\0');

test('the programs in busybox', () => {
  assert.deepEqual(busyboxApplets(BUSYBOX), ['[', '[[', 'acpid', 'ash', 'busybox', 'zcat']);
  assert.throws(() => busyboxApplets(new TextEncoder().encode('no busybox')), hasCode('E_IMAGE_CORRUPT'));
  // Ends where order ends, and at the end of the data.
  assert.deepEqual(busyboxApplets(new TextEncoder().encode('\0[\0[[\0zcat\0alpha\0')), ['[', '[[', 'zcat']);
  assert.deepEqual(busyboxApplets(new TextEncoder().encode('\0[\0[[\0cut-sh')), ['[', '[[']);
});

test('the cached busybox', async context => {
  const found = await openImageCache().lookUp('busybox-static');
  if (!found) return context.skip('busybox-static is not in the cache');
  const applets = busyboxApplets(found.contents);
  for (const needed of GUEST_INIT.match(/^\s*(mount|stty|poweroff|hostname|usleep|insmod|ip)\b/gm)!) {
    assert.ok(applets.includes(needed.trim()), needed);
  }
  assert.ok(applets.length > 200);
});

test('the initramfs holds an init, a shell and the settings; equal input gives equal bytes', () => {
  const initramfs = buildInitramfs(BUSYBOX, { hostname: "it's" });
  const entries = new Map([...readCpio(initramfs)].map(entry => [entry.name, entry]));
  const init = entries.get('init');
  assert.ok(init?.type === 'file' && init.mode === 0o755);
  assert.deepEqual(entries.get('bin/ash'), { type: 'symlink', name: 'bin/ash', target: 'busybox' });
  const settings = entries.get('domus/settings');
  assert.ok(settings?.type === 'file');
  const text = new TextDecoder().decode(settings.data);
  assert.match(text, /^domus_channel='\/dev\/hvc1'\n/);
  assert.match(text, /domus_hostname='it'\\''s'\n$/);
  assert.deepEqual(buildInitramfs(BUSYBOX, { hostname: "it's" }), initramfs);
});

test('the init is valid shell', {
  skip: tool(['sh', '-c', ':'], NONE) ? false : 'there is no sh',
}, () => {
  assert.ok(tool(['sh', '-n'], new TextEncoder().encode(GUEST_INIT)));
});
