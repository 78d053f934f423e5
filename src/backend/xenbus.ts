/**
 * xenbus: how the two halves of a split device find each other through xenstore. Each half has a `state` node in its own
 * area and watches that of the other.
 * Sources: Xen public/io/xenbus.h, docs/misc/xenstore-paths.pandoc.
 */
import { domainPath } from '../xenstore/path.ts';

export const XenbusState = {
  unknown: 0,
  initialising: 1,
  initWait: 2,
  initialised: 3,
  connected: 4,
  closing: 5,
  closed: 6,
  reconfiguring: 7,
  reconfigured: 8,
} as const;

export const frontendPath = (domid: number, kind: string, devid: number): string =>
  `${domainPath(domid)}/device/${kind}/${devid}`;

export const backendPath = (backendDomid: number, kind: string, domid: number, devid: number): string =>
  `${domainPath(backendDomid)}/backend/${kind}/${domid}/${devid}`;

/** Where a half reports what went wrong. */
export const errorPath = (backendDomid: number, kind: string, domid: number, devid: number): string =>
  `${domainPath(backendDomid)}/error/backend/${kind}/${domid}/${devid}/error`;

/** A state as the other half wrote it; anything else than a known number is `unknown`. */
export const parseState = (text: string | undefined): number =>
  text !== undefined && /^[0-8]$/.test(text) ? Number(text) : XenbusState.unknown;

/** A decimal number below 2^32 as the other half wrote it. */
export function parseUnsigned(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 0xffff_ffff ? value : undefined;
}
