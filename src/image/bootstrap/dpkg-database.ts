/**
 * What dpkg remembers of packages that are unpacked and not yet configured: `status`, and in `info` the files that came with each.
 * Source: dpkg(1), deb-control(5), deb-triggers(5), dpkg's doc/triggers.txt.
 */

import { parseStanza } from '../apt.ts';
import type { TarEntry } from '../archive/tar.ts';
import { corrupt } from '../compress/errors.ts';

const decoder = new TextDecoder();
const ADMIN = 'var/lib/dpkg';
/** The suffix under which a new configuration file waits until its package is configured. */
export const NEW_CONFIGURATION = '.dpkg-new';
const NAME = /^[a-z0-9][a-z0-9+.-]+$/;
/** Of dpkg's own files in the control part, those that it does not keep. */
const NOT_KEPT = new Set(['control', '']);

export interface DatabaseFile {
  readonly path: string;
  readonly mode: number;
  readonly contents: Uint8Array;
}

export interface UnpackedPackage {
  readonly name: string;
  /** As in names of files in `info`. */
  readonly infoName: string;
  readonly conffiles: ReadonlySet<string>;
  readonly hasPreinst: boolean;
}

export class DpkgDatabase {
  readonly #files: DatabaseFile[] = [];
  readonly #stanzas: string[] = [];
  readonly #pathTriggers: string[] = [];
  readonly #namedTriggers = new Map<string, string[]>();

  /** Take in the control part of a package. */
  add(control: Iterable<TarEntry>): UnpackedPackage {
    const files = new Map<string, { contents: Uint8Array; mode: number }>();
    for (const entry of control) {
      if (entry.type !== 'file' || entry.name.includes('/')) continue;
      files.set(entry.name, { contents: entry.read(), mode: entry.mode });
    }
    const text = (name: string): string => decoder.decode(files.get(name)?.contents);
    const stanza = text('control').trimEnd();
    const fields = parseStanza(stanza);
    const name = fields.get('package') ?? '';
    const architecture = fields.get('architecture') ?? '';
    if (!NAME.test(name) || !NAME.test(architecture)) throw corrupt('Debian package', 'it has no name');
    const infoName = fields.get('multi-arch') === 'same' ? `${name}:${architecture}` : name;
    for (const [file, { contents, mode }] of files) {
      if (!NOT_KEPT.has(file))
        this.#files.push({ path: `${ADMIN}/info/${infoName}.${file}`, mode, contents });
    }
    const conffiles = text('conffiles')
      .split('\n')
      .filter(line => line.startsWith('/'));
    this.#stanzas.push(unpackedStanza(stanza, conffiles));
    this.#addTriggers(name, text('triggers'));
    return { name, infoName, conffiles: new Set(conffiles), hasPreinst: files.has('preinst') };
  }

  /** The names that the package has put into the file system, absolute. */
  addList({ infoName }: UnpackedPackage, paths: readonly string[]): void {
    const contents = new TextEncoder().encode(['/.', ...paths].map(path => `${path}\n`).join(''));
    this.#files.push({ path: `${ADMIN}/info/${infoName}.list`, mode: 0o644, contents });
  }

  #addTriggers(name: string, text: string): void {
    for (const line of text.split('\n')) {
      const match = /^\s*(interest(?:-await|-noawait)?)\s+(\S+)\s*$/.exec(line);
      if (!match) continue;
      const [, directive, trigger] = match as unknown as [string, string, string];
      const who = directive === 'interest-noawait' ? `${name}/noawait` : name;
      if (trigger.startsWith('/')) this.#pathTriggers.push(`${trigger} ${who}`);
      else if (NAME.test(trigger)) {
        this.#namedTriggers.set(trigger, [...(this.#namedTriggers.get(trigger) ?? []), who]);
      }
    }
  }

  /** Everything below /var/lib/dpkg. */
  files(): DatabaseFile[] {
    const lines = (path: string, list: readonly string[]): DatabaseFile => ({
      path: `${ADMIN}/${path}`,
      mode: 0o644,
      contents: new TextEncoder().encode(list.map(line => `${line}\n`).join('')),
    });
    return [
      ...this.#files,
      lines('status', this.#stanzas),
      lines('info/format', ['1']),
      lines('available', []),
      lines('diversions', []),
      lines('statoverride', []),
      lines('triggers/File', this.#pathTriggers),
      lines('triggers/Unincorp', []),
      ...[...this.#namedTriggers].map(([name, who]) => lines(`triggers/${name}`, who)),
    ];
  }
}

function unpackedStanza(stanza: string, conffiles: readonly string[]): string {
  const [first = '', ...rest] = stanza.split('\n');
  const waiting = conffiles.map(path => ` ${path} newconffile`);
  return [
    first,
    'Status: install ok unpacked',
    ...(waiting.length > 0 ? ['Conffiles:', ...waiting] : []),
    ...rest,
    '',
  ].join('\n');
}
