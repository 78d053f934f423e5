/**
 * Hypercall trace: a line for each hypercall.
 *
 *     0 memory_op.populate_physmap(6, ffffc90000013e10) = 1
 *
 * vCPU, name, arguments (as many as are not zero at the end), result: negative ones by their errno.
 */
import * as errno from '../abi/xen/errno.ts';
import { hypercalls } from '../hypervisor/hypercall/dispatch.ts';
import type { Notices } from '../hypervisor/hypervisor.ts';

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(errno).flatMap(([name, value]) =>
    typeof value === 'number' ? [[value, name.replace(/^XEN_/, '')] as const] : [],
  ),
);
const ARGUMENTS_SHOWN = 2;
/** The version of the control interface and flags of the command are in its upper bits. */
const COMMAND_MASK = 0x3fn;

/** The notice that writes the trace: put it into `MachineHostOptions.notices`. */
export function hypercallTrace(write: (line: string) => void): Required<Pick<Notices, 'hypercallDone'>> {
  return {
    hypercallDone(vcpu, number, args, result) {
      write(
        `${vcpu.id} ${hypercallName(number, args[0] ?? 0n)}(${argumentText(args)}) = ${resultText(result)}`,
      );
    },
  };
}

function hypercallName(number: number, command: bigint): string {
  const group = hypercalls[number];
  if (!group) return `hypercall_${number}`;
  if (!group.operations) return group.name;
  const operation = group.operations[Number(command)] ?? group.operations[Number(command & COMMAND_MASK)];
  return `${group.name}.${operation?.name ?? command}`;
}

function argumentText(args: readonly bigint[]): string {
  let count = args.length;
  while (count > ARGUMENTS_SHOWN && args[count - 1] === 0n) count--;
  return args
    .slice(0, count)
    .map(argument => argument.toString(16))
    .join(', ');
}

function resultText(result: number): string {
  const name = result < 0 ? ERRNO_NAMES.get(-result) : undefined;
  return name ? `-${name}` : String(result);
}
