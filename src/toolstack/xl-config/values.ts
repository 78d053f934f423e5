/** Reads the values of a configuration as what they are to be, and remembers which keys were asked for. */
import { DomusError } from '../../base/errors.ts';
import type { XlConfig, XlSetting, XlValue } from './parse.ts';

export class XlValues {
  readonly #config: XlConfig;
  readonly #known = new Set<string>();
  readonly warnings: string[] = [];

  constructor(config: XlConfig) {
    this.#config = config;
  }

  #setting(key: string): XlSetting | undefined {
    this.#known.add(key);
    return this.#config.get(key);
  }

  /** @throws DomusError E_XL_CONFIG */
  refuse(key: string, why: string, remedy: string): never {
    const where = this.#config.get(key)?.where ?? 'configuration';
    throw new DomusError('E_XL_CONFIG', `${where}: ${key}: ${why}`, remedy);
  }
  warn(key: string, what: string): void {
    this.warnings.push(`${this.#config.get(key)?.where ?? 'configuration'}: ${key}: ${what}`);
  }

  has(key: string): boolean {
    return this.#setting(key) !== undefined;
  }

  text(key: string): string | undefined {
    const value = this.#setting(key)?.value;
    if (value?.kind === 'list') this.refuse(key, 'is a list', `write ${key}="..."`);
    return value?.text;
  }

  /** A whole number that is not negative; in quotes it counts too, as in xl. */
  number(key: string): number | undefined {
    const value = this.#setting(key)?.value;
    if (value === undefined) return undefined;
    const isWritten = value.kind === 'text' && /^\d{1,15}$/.test(value.text.trim());
    const number = value.kind === 'number' ? value.number : isWritten ? Number(value.text) : Number.NaN;
    if (number >= 0 && Number.isSafeInteger(number)) return number;
    return this.refuse(key, 'is no whole number', `write ${key}=1`);
  }

  flag(key: string): boolean | undefined {
    const number = this.number(key);
    if (number === undefined || number <= 1) return number === undefined ? undefined : number === 1;
    return this.refuse(key, 'is neither 0 nor 1', `write ${key}=1`);
  }

  /** Texts; one alone counts as a list of it. */
  texts(key: string): readonly string[] {
    const value = this.#setting(key)?.value;
    if (value === undefined) return [];
    const items: readonly XlValue[] = value.kind === 'list' ? value.items : [value];
    return items.map(item => {
      if (item.kind !== 'list') return item.text;
      return this.refuse(key, 'holds a list within its list', `write ${key}=[ "...", "..." ]`);
    });
  }

  /** Settings that nobody has asked for. */
  unknown(): readonly string[] {
    return [...this.#config.keys()].filter(key => !this.#known.has(key));
  }
}
