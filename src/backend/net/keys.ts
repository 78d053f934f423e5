/** The xenstore keys of a network device, as libxl writes them, and those that the domain writes. */
import { formatMac, type MacAddress } from '../../net/packet/address.ts';
import type { XenstoreClient } from '../../xenstore/client.ts';
import { writeDeviceKeys } from '../keys.ts';
import { parseUnsigned } from '../xenbus.ts';

export const KIND = 'vif';

export interface NetDeviceKeys {
  readonly domid: number;
  readonly devid: number;
  readonly backendDomid: number;
  readonly mac: MacAddress;
  readonly mtu: number;
  readonly maxQueues: number;
}

/** What this backend can do. No control ring, no hashing, no multicast filter, no flipping of pages. */
const FEATURES: Readonly<Record<string, number>> = {
  'feature-sg': 1,
  'feature-gso-tcpv4': 1,
  'feature-gso-tcpv6': 1,
  'feature-ipv6-csum-offload': 1,
  'feature-rx-copy': 1,
  'feature-rx-flip': 0,
  'feature-split-event-channels': 1,
};

export function writeNetDeviceKeys(xs: XenstoreClient, keys: NetDeviceKeys): void {
  const { domid, devid, backendDomid, mtu, maxQueues } = keys;
  const address = { handle: devid, mac: formatMac(keys.mac), mtu };
  writeDeviceKeys(
    xs,
    { kind: KIND, domid, devid, backendDomid },
    {
      backend: {
        ...address,
        type: 'vif',
        ...FEATURES,
        'multi-queue-max-queues': maxQueues,
        'hotplug-status': 'connected',
      },
      frontend: address,
    },
  );
}

export interface QueueKeys {
  readonly txRing: number;
  readonly rxRing: number;
  readonly txPort: number;
  /** The same as `txPort` when the domain does not split them. */
  readonly rxPort: number;
}

export interface FrontendKeys {
  readonly queues: readonly QueueKeys[];
  /** It takes large segments, if it takes several pages for one frame. */
  readonly takesLarge4: boolean;
  readonly takesLarge6: boolean;
  readonly takesPages: boolean;
  readonly takesBlankChecksum4: boolean;
  readonly takesBlankChecksum6: boolean;
}

/** What the domain has written; a reason if it is not enough. */
export function readFrontendKeys(
  read: (key: string) => string | undefined,
  maxQueues: number,
): FrontendKeys | { readonly reason: string } {
  const isSet = (key: string) => parseUnsigned(read(key)) === 1;
  if (!isSet('request-rx-copy')) return { reason: 'request-rx-copy is not 1: pages are only copied' };
  const asked = read('multi-queue-num-queues');
  const count = asked === undefined ? 1 : parseUnsigned(asked);
  if (count === undefined || count < 1 || count > maxQueues) {
    return { reason: `multi-queue-num-queues is ${asked}, from 1 to ${maxQueues} are possible` };
  }
  const queues: QueueKeys[] = [];
  for (let i = 0; i < count; i++) {
    const prefix = count === 1 ? '' : `queue-${i}/`;
    const both = parseUnsigned(read(`${prefix}event-channel`));
    const txPort = parseUnsigned(read(`${prefix}event-channel-tx`)) ?? both;
    const rxPort = parseUnsigned(read(`${prefix}event-channel-rx`)) ?? both;
    const txRing = parseUnsigned(read(`${prefix}tx-ring-ref`));
    const rxRing = parseUnsigned(read(`${prefix}rx-ring-ref`));
    if (txPort === undefined || rxPort === undefined || txRing === undefined || rxRing === undefined) {
      return { reason: `ring references or event channels of queue ${i} are missing` };
    }
    queues.push({ txRing, rxRing, txPort, rxPort });
  }
  const takesPages = isSet('feature-sg');
  return {
    queues,
    takesPages,
    takesLarge4: takesPages && isSet('feature-gso-tcpv4'),
    takesLarge6: takesPages && isSet('feature-gso-tcpv6'),
    takesBlankChecksum4: !isSet('feature-no-csum-offload'),
    takesBlankChecksum6: isSet('feature-ipv6-csum-offload'),
  };
}
