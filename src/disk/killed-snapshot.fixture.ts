/** Begins a snapshot and is killed when all but the moment is done: `node killed-snapshot.fixture.ts DISK SNAPSHOT`. */
import { nodeDiskHost } from '../toolstack/disk-host.ts';
import { beginSnapshot } from './begun-snapshot.ts';
import { openDisk } from './open.ts';

const [, , path = '', snapshot = ''] = process.argv;
const host = nodeDiskHost();
await (await beginSnapshot(host, await openDisk(host, path), snapshot)).ready;
process.kill(process.pid, 'SIGKILL');
