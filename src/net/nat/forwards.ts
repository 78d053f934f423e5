/** Ports of the host that lead to a guest: `-p [BIND:]HOST:GUEST[/udp]`. */
import { DomusError } from '../../base/errors.ts';
import type { DatagramSocket, SocketListener, Sockets } from '../../platform/sockets.ts';
import { type IpAddress, parseIp } from '../packet/address.ts';
import type { TcpRelay } from './tcp-relay.ts';
import type { UdpRelay } from './udp-relay.ts';

export interface PortForward {
  /** Of the host; 127.0.0.1 unless told otherwise. */
  readonly bind?: string;
  /** 0: any that is free. */
  readonly hostPort: number;
  readonly guestPort: number;
  readonly protocol?: 'tcp' | 'udp';
}

export const BIND_DEFAULT = '127.0.0.1';

/** @throws DomusError E_NET_FORWARD */
export function parseForward(text: string): PortForward {
  const bad = (why: string): DomusError =>
    new DomusError(
      'E_NET_FORWARD',
      `"${text}" forwards no port: ${why}`,
      'write for example -p 8080:80, -p 5353:53/udp or -p 0.0.0.0:8080:80',
    );
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(\d{1,5}):(\d{1,5})(?:\/(\w+))?$/.exec(text);
  if (!match) throw bad('it is not of the form [BIND:]HOST:GUEST[/udp]');
  const [, bindText, host, guest, protocol = 'tcp'] = match;
  const bind = bindText?.replace(/^\[|\]$/g, '');
  if (bind !== undefined && !parseIp(bind)) throw bad(`${bind || 'nothing'} is no address`);
  if (protocol !== 'tcp' && protocol !== 'udp') throw bad(`there is no protocol ${protocol}`);
  return checkForward({
    ...(bind !== undefined && { bind }),
    hostPort: Number(host),
    guestPort: Number(guest),
    protocol,
  });
}

/** @throws DomusError E_NET_FORWARD */
export function checkForward(forward: PortForward): PortForward {
  const isPort = (port: number, lowest: number) => Number.isInteger(port) && port >= lowest && port <= 65_535;
  if (!isPort(forward.hostPort, 0) || !isPort(forward.guestPort, 1)) {
    throw new DomusError(
      'E_NET_FORWARD',
      `port ${forward.hostPort} of the host cannot lead to port ${forward.guestPort} of the guest`,
      'choose ports from 1 to 65535',
    );
  }
  return forward;
}

export interface OpenForward {
  /** The host's port, also when any was asked for. */
  readonly hostPort: number;
  close(): void;
}

/** @throws DomusError E_NET_LISTEN */
export async function openForward(
  forward: PortForward,
  guest: IpAddress,
  { sockets, tcp, udp }: { sockets: Sockets; tcp: TcpRelay; udp: UdpRelay },
): Promise<OpenForward> {
  const { bind = BIND_DEFAULT, hostPort, guestPort, protocol = 'tcp' } = checkForward(forward);
  const at = { address: bind, port: hostPort };
  const failure = (reason: string): DomusError =>
    new DomusError(
      'E_NET_LISTEN',
      `cannot listen on ${bind} port ${hostPort}/${protocol}: ${reason}`,
      reason === 'EADDRINUSE' ? 'choose another port of the host' : 'check the address and the port',
    );
  if (protocol === 'tcp') {
    const opened = await sockets.listen(at, (socket, from) => tcp.forward(guest, guestPort, socket, from));
    if ('reason' in opened) throw failure(opened.reason);
    const listener: SocketListener = opened.listener;
    return { hostPort: listener.port, close: () => listener.close() };
  }
  let socket: DatagramSocket | undefined;
  const events = {
    message: (bytes: Uint8Array, from: { address: string; port: number }) =>
      udp.forward(guest, guestPort, from, bytes, reply => socket?.send(reply, from)),
    failed: () => {},
  };
  const opened = await sockets.openDatagram(bind.includes(':') ? 6 : 4, events, at);
  if ('reason' in opened) throw failure(opened.reason);
  socket = opened.socket;
  return { hostPort: socket.port, close: () => opened.socket.close() };
}

export const describeForward = ({
  bind = BIND_DEFAULT,
  hostPort,
  guestPort,
  protocol = 'tcp',
}: PortForward): string => `${bind.includes(':') ? `[${bind}]` : bind}:${hostPort}:${guestPort}/${protocol}`;
