/** The hypercall tables in words: names for traces, and the text of docs/hypercalls.md. */
import { hypercalls } from './dispatch.ts';

/** `event_channel_op.send` for number 32 and first argument 4; `hypercall 99` for what does not exist. */
export function hypercallName(number: number, firstArgument: bigint): string {
  const group = hypercalls[number];
  if (group === undefined) return `hypercall ${number}`;
  if (group.operations === undefined) return group.name;
  const command = Number(firstArgument & (group.name === 'memory_op' ? 0x3fn : 0xffff_ffffn));
  return `${group.name}.${group.operations[command]?.name ?? command}`;
}

const HEADER = `# Hypercalls

What a PVH guest gets from each hypercall. Numbers, names and structures are those of Xen's public headers; the
behaviour is that of Xen 4.17 for an unprivileged PVH domain. Every number and operation that is not listed returns
\`-ENOSYS\`.

- Only privilege level 0 in protected or long mode may call; others get \`-EPERM\`.
- 64-bit callers: number in \`rax\`, arguments in \`rdi rsi rdx r10 r8 r9\`. 32-bit callers: \`eax\`, \`ebx ecx edx esi edi ebp\`.
- Operations marked 32 serve 32-bit callers too, because their structures are alike. The others return \`-ENOSYS\` to
  32-bit callers: Domus does not translate the 32-bit layouts.
- An operation that names a domain works on the caller itself only: \`-ESRCH\` for a domain that does not exist, \`-EPERM\`
  for another one, except where event channels and grants connect two domains.
- A long operation does a part of its work and is then issued again by itself, as in Xen.

This file is generated from the tables in \`src/hypervisor/hypercall/\`; a test compares the two
(\`DOMUS_WRITE_DOCS=1 node --test src/hypervisor/hypercall/describe.test.ts\` writes it anew).
`;

/** The text of docs/hypercalls.md. */
export function hypercallDocument(): string {
  const lines = [HEADER];
  for (const [number, group] of Object.entries(hypercalls)) {
    lines.push(`## ${number} ${group.name}`, '');
    if (group.note) lines.push(`${group.note[0]!.toUpperCase()}${group.note.slice(1)}.`, '');
    if (group.operations === undefined) continue;
    lines.push('| | operation | 32 | |', '|---|---|---|---|');
    for (const [command, operation] of Object.entries(group.operations)) {
      lines.push(
        `| ${command} | ${operation.name} | ${operation.compat ? '32' : ''} | ${operation.note ?? ''} |`,
      );
    }
    lines.push('');
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
