/**
 * Whose rights a command gets: `USER[:GROUP]`, by name or number, looked up in the guest's own /etc/passwd and /etc/group. The files
 * are read through the agent with a tool of its own, so that nothing has to be installed in the guest.
 */
import { DomusError } from '../base/errors.ts';
import type { UserIds } from '../image/guest-agent/start.ts';
import type { GuestAgent } from './boot.ts';
import { concatenate } from './byte-io.ts';

/** More than any real file of accounts has. */
const ACCOUNTS_BYTES_MAX = 1 << 20;
const ID_MAX = 0xffff_fffe;

const unknown = (what: string, name: string) =>
  new DomusError(
    'E_GUEST_USER',
    `the guest has no ${what} "${name}"`,
    'give a name of its /etc/passwd, or a number',
  );

async function readGuestFile(agent: GuestAgent, path: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reading = agent.run({ argv: ['cat', path], env: {}, hasInput: false, isTool: true });
  reading.onStdout(chunk => {
    size += chunk.length;
    if (size <= ACCOUNTS_BYTES_MAX) chunks.push(chunk);
    else reading.kill(9);
  });
  await reading.exit;
  return new TextDecoder().decode(concatenate(chunks));
}

const rows = (text: string): string[][] => text.split('\n').map(line => line.split(':'));
const idOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d+$/.test(text) && Number(text) <= ID_MAX ? Number(text) : undefined;

/** @throws DomusError E_GUEST_USER */
export function resolveIds(user: string, passwd: string, group: string): UserIds {
  const [name = '', groupName] = user.split(':');
  const accounts = rows(passwd);
  const groups = rows(group);
  const account = accounts.find(row => row[0] === name) ?? accounts.find(row => row[2] === name);
  const uid = idOf(account?.[2]) ?? idOf(name);
  if (uid === undefined) throw unknown('user', name);
  const own = groups
    .filter(row => row[3]?.split(',').includes(account?.[0] ?? '\0'))
    .map(row => idOf(row[2]));
  if (groupName === undefined) {
    const gid = idOf(account?.[3]) ?? 0;
    return { uid, gid, groups: [gid, ...own.filter(each => each !== undefined && each !== gid)] as number[] };
  }
  const gid = idOf(groups.find(row => row[0] === groupName)?.[2]) ?? idOf(groupName);
  if (gid === undefined) throw unknown('group', groupName);
  return { uid, gid, groups: [gid] };
}

export async function resolveUser(agent: GuestAgent, user: string): Promise<UserIds> {
  const [passwd, group] = [
    await readGuestFile(agent, '/etc/passwd'),
    await readGuestFile(agent, '/etc/group'),
  ];
  return resolveIds(user, passwd, group);
}
