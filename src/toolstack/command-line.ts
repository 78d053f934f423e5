/** What is on the kernel's command line. */
import { INDIRECT_SEGMENTS_MAX } from '../backend/block/request.ts';

/** Linux's block driver makes requests of 32 pages unless it is told otherwise; large ones are a third cheaper (docs/design/0011). */
const BASE_COMMAND_LINE = `console=hvc0 xen_blkfront.max_indirect_segments=${INDIRECT_SEGMENTS_MAX}`;
/**
 * For guests with the agent, of which a host may have hundreds; a guest of the user's own boots with nothing but what the user says.
 * Without the kernel's self-tests of its cryptography, two thirds of all instructions of a boot (docs/design/0006), and without what
 * keeps an idle kernel awake (docs/design/0024): comparing the TSC with other clocks, which are the same one here; the check for
 * processors that hang, which one that waits for the host looks like; compacting memory ahead of need; averages of how long tasks wait.
 */
const AGENT_COMMAND_LINE =
  'cryptomgr.notests tsc=nowatchdog nowatchdog psi=0 sysctl.vm.compaction_proactiveness=0';

/** `own` is empty for a guest of the user's own. */
export const lineOf = (own: string, append = ''): string =>
  [BASE_COMMAND_LINE, own, append].filter(Boolean).join(' ');
/** The kernel's command line in a guest that runs commands. */
export const commandLineFor = (append?: string): string => lineOf(AGENT_COMMAND_LINE, append);
