/** Every described structure against the real headers: a C program compiled at test time prints sizes and offsets. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as blkif from './blkif.ts';
import * as event from './event-channel.ts';
import * as grant from './grant-table.ts';
import * as hvm from './hvm.ts';
import * as io from './io.ts';
import * as memory from './memory.ts';
import * as netif from './netif.ts';
import * as p9 from './p9.ts';
import * as sched from './sched.ts';
import * as vcpu from './vcpu.ts';
import * as version from './version.ts';
import * as xen from './xen.ts';

interface Described {
  structName: string;
  size: number;
  offsets: Record<string, number>;
}

const HEADERS = [
  'event_channel.h',
  'grant_table.h',
  'memory.h',
  'sched.h',
  'vcpu.h',
  'version.h',
  'features.h',
  'hvm/params.h',
  'hvm/hvm_op.h',
  'arch-x86/hvm/start_info.h',
  'io/9pfs.h',
  'io/blkif.h',
  'io/console.h',
  'io/netif.h',
  'io/xs_wire.h',
];
/** Described for our own use; the headers have no name for them. */
const WITHOUT_NAME = new Set(['evtchn_status_interdomain', 'xen_memory_domain', 'e820entry']);
/** What a C expression yields is compared with what we say. */
const modules = { blkif, event, grant, hvm, io, memory, netif, p9, sched, vcpu, version, xen };
const described = Object.values(modules)
  .flatMap(module => Object.values(module) as unknown[])
  .filter((value): value is Described => typeof value === 'object' && value !== null && 'structName' in value)
  .filter(value => !WITHOUT_NAME.has(value.structName));

/** Plain numeric exports whose names are the header's own. */
const constants = Object.values(modules)
  .flatMap(module => Object.entries(module) as [string, unknown][])
  .filter((entry): entry is [string, number] => typeof entry[1] === 'number' && /^[A-Z]/.test(entry[0]))
  .filter(([name]) => !/^(MEMOP_|E820_|XEN_COMMANDLINE_LEN|EVTCHN_2L|XEN_RUNSTATE)/.test(name));
const prefixed: [string, number][] = Object.entries({
  __HYPERVISOR_: xen.Hypervisor,
  EVTCHNOP_: event.Evtchnop,
  GNTTABOP_: grant.Gnttabop,
  XENMEM_: memory.Xenmem,
  SCHEDOP_: sched.Schedop,
  VCPUOP_: vcpu.Vcpuop,
  XENVER_: version.Xenver,
  XENFEAT_: version.Xenfeat,
  HVMOP_: hvm.Hvmop,
  HVM_PARAM_: hvm.HvmParam,
  XS_: io.Xs,
}).flatMap(([prefix, table]) =>
  Object.entries(table).map(([name, value]): [string, number] => [prefix + name, value]),
);

function missing(): string | false {
  if (!existsSync('/usr/include/xen/event_channel.h')) return 'libxen-dev is not installed';
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'gcc is not installed';
  }
  return false;
}

test('structures and numbers agree with the public headers', { skip: missing() }, () => {
  const lines: string[] = [
    '#include <stdio.h>',
    '#include <stddef.h>',
    '#include <stdint.h>',
    '#define __XEN_TOOLS__ 1',
    '#define __XEN_INTERFACE_VERSION__ 0x00041100',
    '#include <xen/xen.h>',
    ...HEADERS.map(header => `#include <xen/${header}>`),
    'int main(void) {',
  ];
  const expected: string[] = [];
  const say = (name: string, expression: string, value: number) => {
    lines.push(`printf("%s %lld\\n", "${name}", (long long)(${expression}));`);
    expected.push(`${name} ${value}`);
  };
  for (const d of described) {
    say(d.structName, `sizeof(struct ${d.structName})`, d.size);
    for (const [field, offset] of Object.entries(d.offsets)) {
      say(`${d.structName}.${field}`, `offsetof(struct ${d.structName}, ${field})`, offset);
    }
  }
  for (const [name, value] of [...constants, ...prefixed]) say(name, name, value);
  lines.push('return 0; }');
  const folder = mkdtempSync(join(tmpdir(), 'domus-abi-'));
  try {
    writeFileSync(join(folder, 'layouts.c'), lines.join('\n'));
    execFileSync('gcc', ['-O0', '-o', join(folder, 'layouts'), join(folder, 'layouts.c')], { stdio: 'pipe' });
    const printed = execFileSync(join(folder, 'layouts'), { encoding: 'utf8' }).trim().split('\n');
    assert.deepEqual(printed, expected);
    assert.ok(described.length > 40, `${described.length} structures compared`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
