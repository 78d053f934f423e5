/**
 * A copy of a guest becomes somebody of its own: another name, and another MAC address. (identity.ts has the payload.)
 * Source: Linux, uapi/linux/sockios.h, uapi/linux/if.h, uapi/linux/route.h; netdevice(7).
 */
import { address, close, ioctl, setHostname, socket } from './system';
import { lengthOf } from './text';

const MAC_BYTES: i32 = 6;
const GATEWAY_AT: usize = 12;
const NAME_AT: usize = 16;

const AF_INET: i32 = 2;
const SOCK_DGRAM_CLOEXEC: i32 = 0x80002;
const SIOCADDRT: i64 = 0x890b;
const SIOCGIFNAME: i64 = 0x8910;
const SIOCGIFFLAGS: i64 = 0x8913;
const SIOCSIFFLAGS: i64 = 0x8914;
const SIOCSIFHWADDR: i64 = 0x8924;
const SIOCGIFHWADDR: i64 = 0x8927;
const IFF_UP: u16 = 1;
const RTF_UP_GATEWAY: u16 = 3;
/** Interfaces are numbered in their order of appearance. */
const INDEX_MAX: i32 = 256;

/** struct ifreq: the name, 16 bytes, and a union. */
const request: usize = memory.data(40, 8);
const VALUE: usize = 16;
/** struct sockaddr of hardware: u16 family, then the address. */
const ADDRESS: usize = VALUE + 2;
/** struct rtentry. */
const route: usize = memory.data(120, 8);
const ROUTE_TARGET: usize = 8;
const ROUTE_GATEWAY: usize = 24;
const ROUTE_MASK: usize = 40;
const ROUTE_FLAGS: usize = 56;
const ROUTE_DEVICE: usize = 88;
/** struct sockaddr_in: u16 family, u16 port, the address. */
const SOCKADDR_IP: usize = 4;

function isSame(a: usize, b: usize): bool {
  return memory.compare(a, b, MAC_BYTES) === 0;
}

/** Have the name of the interface with this MAC address in `request`. One that was put elsewhere is not found. */
function find(network: i32, mac: usize): bool {
  for (let index = 1; index <= INDEX_MAX; index++) {
    store<i32>(request + VALUE, index);
    if (ioctl(network, SIOCGIFNAME, address(request)) < 0) continue;
    if (ioctl(network, SIOCGIFHWADDR, address(request)) < 0) continue;
    if (isSame(request + ADDRESS, mac)) return true;
  }
  return false;
}

/** The driver takes another address only while the interface is down, and what goes over it by default is forgotten then. */
function setAddress(network: i32, payload: usize): i32 {
  if (!find(network, payload)) return 0;
  const family = load<u16>(request + VALUE);
  ioctl(network, SIOCGIFFLAGS, address(request));
  const flags = load<u16>(request + VALUE);
  store<u16>(request + VALUE, flags & ~IFF_UP);
  let result = ioctl(network, SIOCSIFFLAGS, address(request));
  if (result < 0) return result;
  store<u16>(request + VALUE, family);
  memory.copy(request + ADDRESS, payload + MAC_BYTES, MAC_BYTES);
  const taken = ioctl(network, SIOCSIFHWADDR, address(request));
  store<u16>(request + VALUE, flags);
  result = ioctl(network, SIOCSIFFLAGS, address(request));
  if (result === 0 && (flags & IFF_UP) !== 0) addRoute(network, payload + GATEWAY_AT);
  return taken < 0 ? taken : result;
}

/** A guest that has gone other ways since its boot may have no way to the gateway. */
function addRoute(network: i32, gateway: usize): void {
  if (load<u32>(gateway) === 0) return;
  store<u16>(route + ROUTE_TARGET, <u16>AF_INET);
  store<u16>(route + ROUTE_GATEWAY, <u16>AF_INET);
  store<u32>(route + ROUTE_GATEWAY + SOCKADDR_IP, load<u32>(gateway));
  store<u16>(route + ROUTE_MASK, <u16>AF_INET);
  store<u16>(route + ROUTE_FLAGS, RTF_UP_GATEWAY);
  store<i64>(route + ROUTE_DEVICE, address(request));
  ioctl(network, SIOCADDRT, address(route));
}

/** @returns 0, or the error of what did not work */
export function identify(payload: usize): i32 {
  const length = lengthOf(payload + NAME_AT);
  const named = length > 0 ? setHostname(payload + NAME_AT, length) : 0;
  if (isSame(payload, payload + <usize>MAC_BYTES)) return named;
  const network = socket(AF_INET, SOCK_DGRAM_CLOEXEC);
  if (network < 0) return network;
  const addressed = setAddress(network, payload);
  close(network);
  return named < 0 ? named : addressed;
}
