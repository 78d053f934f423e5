/**
 * Beside an init of the root's own the agent begins first. Until that init has taken its place, process 1 is the busybox of the RAM disk, and
 * a command would run in what is about to be removed.
 */
import { reserve } from './reserve';
import { openProc, TOOL_FILE } from './spawn';
import { close, fileStatus, poll } from './system';

/** struct stat: the device and the inode's number come first. Source: Linux, x86/include/uapi/asm/stat.h. */
const STATUS_BYTES: usize = 144;
const found: usize = reserve(STATUS_BYTES);
const tools: usize = reserve(STATUS_BYTES);

/** Whether process 1 executes the very file that is open as our tools. A root may have a busybox too, but not that one. */
function isOurs(): bool {
  const program = openProc('1/exe');
  const isKnown = fileStatus(program, found) === 0 && fileStatus(TOOL_FILE, tools) === 0;
  close(program);
  return isKnown && load<u64>(found) === load<u64>(tools) && load<u64>(found, 8) === load<u64>(tools, 8);
}

/** Nothing tells when another process becomes another program, so looking again is the way. */
export function awaitInit(): void {
  while (isOurs()) poll(0, 0, 1);
}
