/**
 * Style that a program can check, over src/**: imports point from higher layers to lower ones, only src/platform names
 * what Node or a browser provides (src/web/page runs in one), files have a header and a bounded length, and links in the documentation lead
 * somewhere. Prints every violation and exits with 1 when there is one.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** From the lowest up. Layers in one row may not import each other, unless named in `NEIGHBOURS`. */
const ORDER: readonly (readonly string[])[] = [
  ['base'],
  ['abi', 'platform'],
  ['machine'],
  ['cpu'],
  ['hypervisor'],
  ['xenstore', 'disk', 'net', 'backend'],
  ['image'],
  ['state'],
  ['toolstack'],
  ['web'],
  ['cli'],
];
/** A backend finds its frontend in xenstore and serves what disk and net make, never the other way round. */
const NEIGHBOURS: Readonly<Record<string, readonly string[]>> = { backend: ['xenstore', 'disk', 'net'] };
/** What the first step of the command, which is plain JavaScript, has in common with the program. */
const SHARED = /^\.\.\/bin\/(?:cache-folder|v8-flags)\.js$/;
const LINES_MAX = 1000;
/** Files that are tables, and why they are long. */
const LONG_TABLES: Readonly<Record<string, string>> = {};

/** Names that only src/platform may use: what Node or a browser provides. */
const FORBIDDEN: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/\bfrom\s+['"]node:|\bimport\s*\(\s*['"]node:|\bimport\s+['"]node:/, 'a node: module'],
  [/\bprocess\s*\./, 'process'],
  [/\bBuffer\b\s*[.(]/, 'Buffer'],
  [/\b(?:set|clear)(?:Timeout|Interval|Immediate)\s*\(/, 'a host timer'],
  [/\bqueueMicrotask\s*\(/, 'queueMicrotask'],
  [/\bperformance\s*\./, 'performance'],
  [/\bDate\s*\.\s*now\b|\bnew\s+Date\s*\(\s*\)/, 'the host clock'],
  [/\bMath\s*\.\s*random\b/, 'Math.random'],
  [/\bcrypto\s*\./, 'crypto'],
  [/\bfetch\s*\(/, 'fetch'],
  [/\.(?:toHex|fromHex|toBase64|fromBase64)\(/, 'what Node 24 does not have'],
  [/\b(?:window|document|navigator|localStorage)\s*\./, 'a browser global'],
];

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

/** Blank out comments and, where asked, string contents; line numbers stay. */
export function withoutComments(source: string): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[dgimsuvy]*(?=\s*[.,;)\]])/g;
  return source.replace(token, match =>
    match.startsWith('/*') || match.startsWith('//') ? match.replace(/[^\n]/g, ' ') : match,
  );
}

/** As `withoutComments`, with strings emptied too, so that words in messages do not count as code. */
function codeOnly(source: string): string {
  return withoutComments(source).replace(/'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/g, match =>
    match.slice(1).startsWith('node:') ? match : "''",
  );
}

const rankOf = (layer: string) => ORDER.findIndex(row => row.includes(layer));
const lineAt = (text: string, index: number) => text.slice(0, index).split('\n').length;

/** `file` is relative to src/, with forward slashes. */
export function checkSource(file: string, source: string): Violation[] {
  const found: Violation[] = [];
  const report = (line: number, text: string) => found.push({ file: `src/${file}`, line, text });
  const isTest = /\.(?:test|fixture)\.ts$/.test(file) || file.includes('/testing/');
  const layer = file.split('/')[0] ?? '';

  if (!isTest && !/^(?:#![^\n]*\n)?\s*\/\*\*/.test(source))
    report(1, 'the file does not start with a comment that says what it owns');
  const nrLines = source.split('\n').length - 1;
  if (nrLines > LINES_MAX && LONG_TABLES[file] === undefined) {
    report(
      nrLines,
      `${nrLines} lines; ${LINES_MAX} are allowed, or name it as a table in scripts/check-layers.ts`,
    );
  }
  // Tests may use what they like.
  if (isTest) return found;

  if (rankOf(layer) < 0) report(1, `src/${layer} is no layer`);
  const imports = withoutComments(source);
  for (const match of imports.matchAll(/\b(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g)) {
    const path = match[1] ?? '';
    const line = lineAt(imports, match.index);
    const target = normalize(join(dirname(file), path)).replaceAll('\\', '/');
    if (!/\.(?:tsx?|js|json)$/.test(path)) report(line, `the import path ${path} lacks its .ts`);
    const targetLayer = target.split('/')[0] ?? '';
    if (targetLayer === layer) continue;
    if (layer === 'platform' && SHARED.test(target)) continue;
    if (target.startsWith('..')) report(line, `${path} leaves src`);
    else if (/\.(?:test|fixture)\.ts$/.test(target)) report(line, `${path} is a part of the tests`);
    else if (!mayImport(layer, targetLayer)) report(line, `${layer} may not import ${targetLayer}: ${path}`);
  }

  // What runs in a browser has no other platform than the browser.
  if (layer === 'platform' || file.startsWith('web/page/')) return found;
  const code = codeOnly(source);
  for (const [pattern, what] of FORBIDDEN) {
    for (const match of code.matchAll(new RegExp(pattern, 'g'))) {
      report(lineAt(code, match.index), `${what} is for src/platform alone`);
    }
  }
  return found;
}

export function mayImport(from: string, to: string): boolean {
  if (rankOf(from) < 0 || rankOf(to) < 0) return false;
  return rankOf(to) < rankOf(from) || (NEIGHBOURS[from]?.includes(to) ?? false);
}

/** Relative links of a Markdown file that lead to no file. */
export function brokenLinks(
  text: string,
  exists: (path: string) => boolean,
): { line: number; link: string }[] {
  const outside = text.replace(/```[\s\S]*?```|`[^`\n]*`/g, match => match.replace(/[^\n]/g, ' '));
  const broken: { line: number; link: string }[] = [];
  for (const match of outside.matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g)) {
    const link = match[1] ?? '';
    if (/^[a-z]+:|^#/.test(link)) continue;
    if (!exists(link.split('#')[0] ?? '')) broken.push({ line: lineAt(outside, match.index), link });
  }
  return broken;
}

function main(): number {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const violations: Violation[] = [];
  const sources = globSync('src/**/*.{ts,tsx}', { cwd: root }).filter(file => !file.includes('/assembly/'));
  for (const path of sources.sort()) {
    const file = relative('src', path).replaceAll('\\', '/');
    violations.push(...checkSource(file, readFileSync(join(root, path), 'utf8')));
  }
  for (const file of globSync(['*.md', 'docs/**/*.md', 'src/**/*.md'], { cwd: root }).sort()) {
    const folder = join(root, dirname(file));
    for (const { line, link } of brokenLinks(readFileSync(join(root, file), 'utf8'), path =>
      existsSync(join(folder, path)),
    )) {
      violations.push({ file, line, text: `the link ${link} leads nowhere` });
    }
  }
  for (const { file, line, text } of violations) console.error(`${file}:${line}: ${text}`);
  console.log(`layers: ${sources.length} files, ${violations.length} violations`);
  return violations.length === 0 ? 0 : 1;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = main();
}
