/** `domus network-list`, `network-set`, `switch-list`, `switch-partition`, `switch-heal`: networks of guests that run. */
import { DomusError } from '../../base/errors.ts';
import { formatFaults, parseFaults } from '../../net/fault-text.ts';
import { parseRule } from '../../net/policy.ts';
import { absolutePath } from '../../platform/node/cache-folder.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import {
  DIRECTIONS,
  type NetworkChange,
  type NetworkView,
  rulesText,
} from '../../toolstack/daemon/guest-network.ts';
import type { SwitchPortView, SwitchView } from '../../toolstack/daemon/switches.ts';
import { flag, list, type OptionValues, option } from '../options.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable } from '../table.ts';
import { usage } from '../usage.ts';
import { type CommandContext, verb } from '../verb.ts';
import { type OfGuest, ofRunningGuests, operandsOf } from './guest-operand.ts';

const COLUMNS: readonly Column<OfGuest<NetworkView>>[] = [
  { name: 'Name', width: 24, of: ({ name }) => name },
  { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
  { name: 'Network', width: 12, of: ({ mode }) => mode },
  { name: 'Address', width: 11, of: ({ address }) => address },
  { name: 'Mac', width: 17, of: ({ mac }) => mac },
  { name: 'Mtu', width: 5, isRight: true, of: ({ mtu }) => String(mtu) },
  { name: 'Settings', width: 0, of: settingsText },
];

function settingsText({ ports, rules, faults, capture }: NetworkView): string {
  const [inward, outward] = [formatFaults(faults.in), formatFaults(faults.out)];
  const ways = inward === outward ? [inward] : [`in:${inward}`, `out:${outward}`];
  return [
    ...ports.map(
      ({ hostPort, guestPort, protocol }) => `${hostPort}:${guestPort}${protocol === 'udp' ? '/udp' : ''}`,
    ),
    ...ways.filter(way => way !== 'none'),
    ...(rules ? [rulesText(rules)] : []),
    ...(capture === undefined ? [] : [`capture=${capture}`]),
  ]
    .filter(Boolean)
    .join(' ');
}

export const networkList = verb({
  name: 'network-list',
  summary: 'List the networks of guests',
  operands: '[NAME...]',
  options: { output: outputOption },
  notes: [
    'Settings are forwarded ports (HOST:GUEST), faults of the line, rules, and the file of a capture.',
    '"domus network-set" changes them.',
  ],
  async run(context, values, operands) {
    const rows = await ofRunningGuests(context, operands, async (daemon, guest) => {
      const network = await daemon.network(guest);
      return network ? [network] : [];
    });
    await context.print(values.output === 'json' ? `${JSON.stringify(rows)}\n` : formatTable(COLUMNS, rows));
    return 0;
  },
});

const checkedRule = (text: string): string => {
  parseRule(text);
  return text;
};

const setOptions = {
  netFault: option({
    name: 'net-fault',
    placeholder: 'FAULTS',
    summary: 'all faults of the line from now on, as for "domus run"; "none" makes it good',
    parse: parseFaults,
  }),
  direction: option({
    name: 'direction',
    placeholder: 'WAY',
    summary: 'in: to the guest, out: from it, both (default); with --net-fault',
    parse: text => {
      const found = DIRECTIONS.find(each => each === text);
      if (found) return found;
      throw new DomusError('E_USAGE', `there is no direction "${text}"`, 'use in, out or both');
    },
  }),
  allow: list({
    name: 'allow',
    placeholder: 'WHERE',
    summary: 'let the guest reach only this address, range or name; may be repeated',
    parse: checkedRule,
  }),
  deny: list({
    name: 'deny',
    placeholder: 'WHERE',
    summary: 'keep the guest from an address, range or name; may be repeated',
    parse: checkedRule,
  }),
  noRules: flag({ name: 'no-rules', summary: 'take all rules away' }),
  capture: option({
    name: 'capture',
    placeholder: 'FILE',
    summary: 'write what passes from now on to a pcap file',
    parse: text => text,
  }),
  noCapture: flag({ name: 'no-capture', summary: 'end the capture that is being made' }),
  output: outputOption,
};

function changeOf(values: OptionValues<typeof setOptions>): NetworkChange {
  const { netFault, direction, allow, deny, noRules, capture, noCapture } = values;
  const hasRules = allow.length > 0 || deny.length > 0;
  if (direction && !netFault)
    throw usage('--direction is of faults', 'write --net-fault FAULTS --direction in');
  if (hasRules && noRules)
    throw usage('--no-rules leaves no room for a rule', 'leave it out: rules replace those that there are');
  if (capture !== undefined && noCapture)
    throw usage('a capture begins or ends', 'leave out --capture or --no-capture');
  const change: NetworkChange = {
    ...(netFault && { faults: netFault.faults }),
    ...(netFault?.seed !== undefined && { seed: netFault.seed }),
    ...(direction && { direction }),
    ...((hasRules || noRules) && { rules: { allow, deny } }),
    ...(capture !== undefined && { capture: absolutePath(capture) }),
    ...(noCapture && { capture: null }),
  };
  if (Object.keys(change).length > 0) return change;
  throw usage('there is nothing to change', 'write for example domus network-set web --net-fault loss=1%');
}

export const networkSet = verb({
  name: 'network-set',
  summary: 'Change faults, rules and capture of a running guest’s network',
  operands: 'NAME',
  options: setOptions,
  notes: [
    '--allow and --deny are all rules that there are from then on, for what begins later: connections that stand go on.',
    'Examples: domus network-set web --net-fault delay=50ms,loss=1% --direction in; domus network-set web --net-fault none;',
    'domus network-set web --allow example.com --allow "*.debian.org".',
  ],
  async run(context, values, operands) {
    const change = changeOf(values);
    const [guest] = operandsOf('network-set', operands, 'NAME');
    const daemon = await Daemon.connect(context.daemon);
    const network = await daemon.changeNetwork(guest, change);
    if (values.output === 'json') await context.print(`${JSON.stringify(network)}\n`);
    return 0;
  },
});

const PORT_COLUMNS: readonly Column<SwitchPortView & { readonly lan: string }>[] = [
  { name: 'Switch', width: 16, of: ({ lan }) => lan },
  { name: 'Guest', width: 24, of: ({ guest }) => guest },
  { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
  { name: 'Address', width: 11, of: ({ address }) => address },
  { name: 'Group', width: 0, of: ({ group }) => (group === undefined ? '' : String(group)) },
];

export const switchList = verb({
  name: 'switch-list',
  summary: 'List the switches between guests, and who is on them',
  operands: '',
  options: { output: outputOption },
  notes: [
    'A guest is on a switch when it is started with --net switch:NAME, or with bridge=NAME in a configuration file.',
    'Groups are those of a switch that is partitioned; guests of group 0 hear each other.',
  ],
  async run(context, values, operands) {
    operandsOf('switch-list', operands);
    const daemon = await Daemon.connectIfAny(context.daemon);
    const switches = (await daemon?.switches()) ?? [];
    const rows = switches.flatMap(({ name, ports }) => ports.map(port => ({ lan: name, ...port })));
    const text = values.output === 'json' ? `${JSON.stringify(switches)}\n` : formatTable(PORT_COLUMNS, rows);
    await context.print(text);
    return 0;
  },
});

async function part(
  context: CommandContext,
  name: string,
  groups: readonly (readonly string[])[],
  output: 'text' | 'json' | undefined,
): Promise<number> {
  const daemon = await Daemon.connect(context.daemon);
  const lan: SwitchView = await daemon.changeSwitch(name, { groups });
  if (output === 'json') await context.print(`${JSON.stringify(lan)}\n`);
  return 0;
}

export const switchPartition = verb({
  name: 'switch-partition',
  summary: 'Part a switch: guests hear those of their group only',
  operands: 'SWITCH GUEST[,GUEST...]...',
  options: { output: outputOption },
  notes: [
    'Each operand is a group. Guests that are in none, and those that come later, hear each other.',
    'Example: domus switch-partition lan web,db cache',
  ],
  async run(context, values, [name, ...groups]) {
    if (name === undefined || groups.length === 0)
      throw usage(
        'switch-partition needs a switch and a group of guests',
        'write domus switch-partition lan web,db',
      );
    const split = groups.map(group => group.split(',').filter(Boolean));
    return part(context, name, split, values.output);
  },
});

export const switchHeal = verb({
  name: 'switch-heal',
  summary: 'Make a switch that was partitioned whole again',
  operands: 'SWITCH',
  options: { output: outputOption },
  async run(context, values, operands) {
    const [name] = operandsOf('switch-heal', operands, 'SWITCH');
    return part(context, name, [], values.output);
  },
});
