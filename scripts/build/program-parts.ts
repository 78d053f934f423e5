/**
 * The program in parts, which bin/program.js loads: files of chunks (chunk-files.ts), each a script for V8. A chunk is a function there, of which the first call
 * evaluates its modules, and what it imports of others become constants of its own: a call between chunks is like one within.
 *
 *     // name of the whole
 *     (function (require, __load, __moduleUrl) { return { chunk() { … return { what it exports } }, … } })
 */
import { createHash } from 'node:crypto';
import { type Metafile, type OutputFile, transform } from 'esbuild';
import { chunkOf, filesOf } from './chunk-files.ts';

const LINE_MAX = 160;
const IMPORT = /^import (?:\{([^}]*)\} from )?"\.\/([\w.-]+)\.js";\n/gm;
const EXPORT = /^export \{([^}]*)\};\n/gm;
const AT_ONCE = /\b__now\(import\("\.\/([\w.-]+)\.js"\)\)/g;
const SOME_TIME = /\bimport\("\.\/([\w.-]+)\.js"\)/g;

/** `a as b, c` of an import or export, as of an object's fields. */
const fieldsOf = (names: string, isImport: boolean): string =>
  names
    .split(',')
    .map(each => each.trim())
    .filter(each => each !== '')
    .map(each => {
      const [from, to = from] = each.split(' as ');
      return from === to ? from : isImport ? `${from}: ${to}` : `${to}: ${from}`;
    })
    .join(', ');

/** A chunk as a method. `loadOf` says how another one is loaded. */
async function methodOf(chunk: string, text: string, loadOf: (chunk: string) => string): Promise<string> {
  const imports: string[] = [];
  let exports = '';
  const rest = text
    .replace(IMPORT, (_, names: string | undefined, other: string) => {
      imports.push(`${names === undefined ? '' : `const { ${fieldsOf(names, true)} } = `}${loadOf(other)};`);
      return '';
    })
    .replace(EXPORT, (_, names: string) => {
      exports += `${fieldsOf(names, false)},`;
      return '';
    })
    .replace(AT_ONCE, (_, other: string) => loadOf(other))
    .replace(SOME_TIME, (_, other: string) => `(async () => ${loadOf(other)})()`);
  // As text of the chunk, for it may export what it imports of Node.
  const { code } = await transform(`${rest}\nvar __exported = { ${exports} };`, {
    format: 'cjs',
    target: 'node24',
    minifyWhitespace: true,
    lineLimit: LINE_MAX,
    // Through the same function as all others.
    supported: { 'dynamic-import': false },
  });
  return `${JSON.stringify(chunk)}() {${imports.join('\n')}\n${code}return __exported;\n}`;
}

/**
 * The parts' name for themselves is another whenever something of them is.
 * @returns the files' contents by their names
 */
export async function programParts(
  metafile: Metafile,
  outputs: readonly OutputFile[],
): Promise<ReadonlyMap<string, string>> {
  const fileOf = filesOf(metafile);
  const loadOf = (chunk: string) => `__load(${JSON.stringify(`${fileOf.get(chunk)}/${chunk}`)})`;
  const methods = new Map<string, string[]>();
  for (const { path, text } of outputs) {
    const chunk = chunkOf(path);
    const file = fileOf.get(chunk);
    if (file === undefined) throw new Error(`nothing leads to ${path}`);
    methods.set(file, [...(methods.get(file) ?? []), await methodOf(chunk, text, loadOf)]);
  }
  const name = createHash('sha256')
    .update(JSON.stringify([...methods]))
    .digest('hex')
    .slice(0, 16);
  const begin = `// ${name}\n(function (require, __load, __moduleUrl) {"use strict";return {\n`;
  return new Map([...methods].map(([file, all]) => [file, `${begin}${all.join(',\n')}\n}})\n`]));
}
