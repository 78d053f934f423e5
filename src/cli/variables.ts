/** `-e NAME=VALUE`: variables of a guest's command. */
import { usage } from './usage.ts';

/** @throws DomusError E_USAGE */
export function parseVariable(text: string): readonly [string, string] {
  const equals = text.indexOf('=');
  const name = equals < 0 ? text : text.slice(0, equals);
  if (!/^[^=\s]+$/.test(name)) throw usage(`"${text}" sets no variable`, 'write -e NAME=VALUE');
  if (equals < 0) throw usage(`-e ${text} has no value`, `write -e ${text}=VALUE`);
  return [name, text.slice(equals + 1)];
}
