/** Who a command in an image is to be run by: a user by name or number, looked up in the image's own files. */
import { corrupt } from '../compress/errors.ts';
import type { UserIds } from '../guest-agent/start.ts';

const ID_MAX = 0xffff_fffe;
const GROUPS_MAX = 4096;

const rows = (text: string): string[][] =>
  text
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .map(line => line.split(':'));

const idOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= ID_MAX ? Number(text) : undefined;

/**
 * `USER`, `UID`, `USER:GROUP` and so on, with the contents of /etc/passwd and /etc/group. Undefined for root.
 * @throws DomusError E_IMAGE_CORRUPT when the image names a user that it does not have
 */
export function userIds(wanted: string, passwd: string, group: string): UserIds | undefined {
  if (wanted === '') return undefined;
  const [userName = '', groupName] = wanted.split(':');
  const users = rows(passwd);
  const groups = rows(group);
  const user = users.find(([name]) => name === userName) ?? users.find(row => row[2] === userName);
  const uid = user ? idOf(user[2]) : idOf(userName);
  if (uid === undefined) throw corrupt('OCI image', `it has no user ${JSON.stringify(userName)}`);
  let gid = user ? (idOf(user[3]) ?? 0) : 0;
  if (groupName !== undefined && groupName !== '') {
    const found = groups.find(([name]) => name === groupName);
    const chosen = found ? idOf(found[2]) : idOf(groupName);
    if (chosen === undefined) throw corrupt('OCI image', `it has no group ${JSON.stringify(groupName)}`);
    gid = chosen;
  }
  const others = user
    ? groups.filter(row => row[3]?.split(',').includes(user[0]!)).map(row => idOf(row[2]))
    : [];
  const more = others.filter((id): id is number => id !== undefined && id !== gid).slice(0, GROUPS_MAX);
  if (uid === 0 && gid === 0 && more.length === 0) return undefined;
  return { uid, gid, groups: [gid, ...more] };
}
