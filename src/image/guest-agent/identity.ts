/** Who a copy of a guest is from now on: the payload of IDENTITY, read by assembly/identity.ts. */
import { DomusError } from '../../base/errors.ts';

export interface Identity {
  /** Its name; that of its original when absent. */
  readonly hostname?: string | undefined;
  readonly network?: {
    /** Of the interface, six bytes each. */
    readonly macBefore: Uint8Array;
    readonly mac: Uint8Array;
    /** Of its default route, four bytes, which is lost when the interface gets another address. */
    readonly gateway?: Uint8Array | undefined;
  };
}

const MAC_BYTES = 6;
const GATEWAY_AT = 2 * MAC_BYTES;
const NAME_AT = GATEWAY_AT + 4;

/** Both MAC addresses, the gateway and the zero-terminated name; zeros for what stays as it is. */
export function encodeIdentity({ hostname = '', network }: Identity): Uint8Array {
  const name = new TextEncoder().encode(hostname);
  const payload = new Uint8Array(NAME_AT + name.length + 1);
  if (network) {
    payload.set(network.macBefore);
    payload.set(network.mac, MAC_BYTES);
    payload.set(network.gateway ?? [], GATEWAY_AT);
  }
  payload.set(name, NAME_AT);
  return payload;
}

/** @param errno the agent's answer. @throws DomusError E_IDENTITY */
export function checkIdentity(errno: number | undefined): void {
  if (errno === 0) return;
  throw new DomusError(
    'E_IDENTITY',
    `the guest could not take its own name and network address (error ${errno ?? 'unknown'} of its kernel)`,
    'look at its interfaces: domus exec NAME -- ip link',
  );
}
