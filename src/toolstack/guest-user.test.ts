import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveIds } from './guest-user.ts';

const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n7up:x:70:71::/:/bin/sh\nbroken\n';
const GROUP = 'root:x:0:\nwww:x:33:\nvideo:x:44:www,other\naudio:x:45:www\nseven:x:71:7up\n';

test('users and groups by name and number, as the guest’s own files have them', () => {
  const resolve = (user: string) => {
    const { uid, gid, groups } = resolveIds(user, PASSWD, GROUP);
    return [uid, gid, ...groups];
  };
  assert.deepEqual(resolve('root'), [0, 0, 0]);
  assert.deepEqual(resolve('www'), [33, 33, 33, 44, 45]);
  assert.deepEqual(resolve('33'), [33, 33, 33, 44, 45]);
  assert.deepEqual(resolve('www:video'), [33, 44, 44]);
  assert.deepEqual(resolve('www:5'), [33, 5, 5]);
  assert.deepEqual(resolve('7up'), [70, 71, 71]);
  assert.deepEqual(resolve('1000'), [1000, 0, 0]);
  assert.deepEqual(resolve('1000:1000'), [1000, 1000, 1000]);
  for (const wrong of ['nobody', '', 'www:nobody', '-1', '4294967295', '99999999999', 'broken']) {
    assert.throws(() => resolve(wrong), { code: 'E_GUEST_USER' }, wrong);
  }
});
