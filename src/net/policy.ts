/**
 * Where a guest may connect to. Rules name an address, a range, a host name (`example.com`), all names below one
 * (`*.example.com`) or everything (`all`).
 *
 * - `deny` rules come first. With any `allow` rule only what these name is allowed; without one everything is.
 * - Some ranges are protected: the host itself, and the addresses where clouds keep their credentials. Only a
 *   rule for an address or range inside of them opens them; `all` and names do not.
 * - An address that the name service has given for an allowed name is allowed for as long as the answer is valid.
 */
import { DomusError } from '../base/errors.ts';
import { type Cidr, formatIp, type IpAddress, isRangeWithin, isWithin, parseCidr } from './packet/address.ts';

type Rule =
  | { readonly kind: 'range'; readonly range: Cidr }
  | { readonly kind: 'name'; readonly name: string; readonly isSuffix: boolean }
  | { readonly kind: 'all' };

/** This host, loopback, link-local, multicast and reserved (RFC 6890). */
const PROTECTED: readonly Cidr[] = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/127',
  'fe80::/10',
  'ff00::/8',
  // The same addresses in other clothes: mapped, compatible and translated IPv4.
  '::ffff:0:0/96',
  '::/96',
  '64:ff9b::/96',
  // Where other clouds keep credentials, outside of the link-local range.
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd20:ce::254',
].map(text => parseCidr(text)!);

const NAME =
  /^(?:\*\.)?(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;
/** Addresses learned from answers; the oldest go first. */
const LEARNED_MAX = 4096;
/** An answer that is valid for no time at all is still there to be used. */
const LEARNED_MIN_SECONDS = 10;
const LEARNED_MAX_SECONDS = 86_400;

/** @throws DomusError E_NET_RULE */
export function parseRule(text: string): Rule {
  if (text === 'all') return { kind: 'all' };
  const range = parseCidr(text);
  if (range) return { kind: 'range', range };
  const name = text.toLowerCase().replace(/\.$/, '');
  // A name of digits and dots alone is a mistyped address.
  if (!NAME.test(name) || /^[\d.]+(?:\/\d*)?$/.test(name)) {
    throw new DomusError(
      'E_NET_RULE',
      `"${text}" is neither an address, nor a range, nor a name`,
      'write for example 192.0.2.7, 10.0.0.0/8, example.com, *.example.com or all',
    );
  }
  return name.startsWith('*.')
    ? { kind: 'name', name: name.slice(1), isSuffix: true }
    : { kind: 'name', name, isSuffix: false };
}

export interface PolicyOptions {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

const matchesName = (rule: Rule, name: string): boolean =>
  rule.kind === 'name' && (rule.isSuffix ? name.endsWith(rule.name) : name === rule.name);

export class EgressPolicy {
  #allow: readonly Rule[] = [];
  #deny: readonly Rule[] = [];
  readonly #nowNs: () => number;
  readonly #learned = new Map<string, number>();
  #rules: Required<PolicyOptions> = { allow: [], deny: [] };

  /** @throws DomusError E_NET_RULE */
  constructor(rules: PolicyOptions, nowNs: () => number) {
    this.#nowNs = nowNs;
    this.setRules(rules);
  }

  /** As they were written. */
  get rules(): Required<PolicyOptions> {
    return this.#rules;
  }

  /** Other rules in place of those that there are, from now on. What names have opened is closed. @throws DomusError E_NET_RULE */
  setRules({ allow = [], deny = [] }: PolicyOptions): void {
    const parsed = [allow.map(parseRule), deny.map(parseRule)] as const;
    [this.#allow, this.#deny] = parsed;
    this.#rules = { allow: [...allow], deny: [...deny] };
    this.#learned.clear();
  }

  /** Whether names play a part, so that questions to other name servers must be looked at too. */
  get hasNames(): boolean {
    const isName = ({ kind }: Rule) => kind === 'name';
    return this.#allow.some(isName) || this.#deny.some(isName);
  }

  allowsAddress(address: IpAddress): boolean {
    const matches = (rule: Rule) =>
      rule.kind === 'all' || (rule.kind === 'range' && isWithin(address, rule.range));
    if (this.denies(address)) return false;
    const fence = PROTECTED.find(range => isWithin(address, range));
    if (fence) {
      return this.#allow.some(
        rule =>
          rule.kind === 'range' &&
          matches(rule) &&
          PROTECTED.some(range => isWithin(address, range) && isRangeWithin(rule.range, range)),
      );
    }
    if (this.#allow.length === 0 || this.#allow.some(matches)) return true;
    const until = this.#learned.get(formatIp(address));
    return until !== undefined && this.#nowNs() < until;
  }

  /** Whether a rule says that an address may not be reached; with `within` only one for an address or range inside of these. */
  denies(address: IpAddress, within?: readonly Cidr[]): boolean {
    return this.#deny.some(rule => {
      if (rule.kind === 'all') return within === undefined;
      if (rule.kind !== 'range' || !isWithin(address, rule.range)) return false;
      return within?.some(range => isRangeWithin(rule.range, range)) ?? true;
    });
  }

  deniesName(name: string): boolean {
    return this.#deny.some(rule => rule.kind === 'all' || matchesName(rule, name));
  }

  /** Whether a name may be asked for. Without a rule that names names every name may. */
  allowsName(name: string): boolean {
    if (this.deniesName(name)) return false;
    if (this.#allow.length === 0) return true;
    // A range allows addresses, not names: questions themselves can carry data to the outside.
    return this.#allow.some(rule => rule.kind === 'all' || matchesName(rule, name));
  }

  /** An answer to an allowed question gave this address. */
  learn(address: IpAddress, ttlSeconds: number): void {
    if (this.#allow.length === 0) return;
    const key = formatIp(address);
    const seconds = Math.min(LEARNED_MAX_SECONDS, Math.max(LEARNED_MIN_SECONDS, ttlSeconds));
    const until = Math.max(this.#nowNs() + seconds * 1e9, this.#learned.get(key) ?? 0);
    this.#learned.delete(key);
    this.#learned.set(key, until);
    if (this.#learned.size > LEARNED_MAX) {
      const oldest = this.#learned.keys().next().value;
      if (oldest !== undefined) this.#learned.delete(oldest);
    }
  }
}
