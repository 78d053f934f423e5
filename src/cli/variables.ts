/** `-e NAME=VALUE`: variables of a guest's command. */
import { list } from './options.ts';
import { usage } from './usage.ts';

/** @throws DomusError E_USAGE */
function parseVariable(text: string): readonly [string, string] {
  const equals = text.indexOf('=');
  const name = equals < 0 ? text : text.slice(0, equals);
  if (!/^[^=\s]+$/.test(name)) throw usage(`"${text}" sets no variable`, 'write -e NAME=VALUE');
  if (equals < 0) throw usage(`-e ${text} has no value`, `write -e ${text}=VALUE`);
  return [name, text.slice(equals + 1)];
}

/** The option of all verbs that run one. */
export const variables = list({
  name: 'env',
  short: 'e',
  placeholder: 'NAME=VALUE',
  summary: 'set a variable for the command; may be repeated',
  parse: parseVariable,
});
