/**
 * Names of images as people write them.
 *
 *     debian:12                     a Debian of that suite, made from packages
 *     oci:FOLDER[:TAG]              an OCI layout
 *     docker-archive:FILE[:NAME]    what "docker save" writes
 *     dir:FOLDER                    a plain folder
 *     HOST[:PORT]/NAME:TAG          in a registry; HOST/NAME@sha256:DIGEST
 *     NAME:TAG                      in the store, under a name that "domus image build -t" gave it
 */
import { DomusError } from '../base/errors.ts';

export type ImageReference =
  | { readonly kind: 'debian'; readonly suite: string }
  | { readonly kind: 'oci'; readonly path: string; readonly tag: string | undefined }
  | { readonly kind: 'docker-archive'; readonly path: string; readonly tag: string | undefined }
  | { readonly kind: 'dir'; readonly path: string }
  | RegistryReference
  | { readonly kind: 'stored'; readonly name: string };

export interface RegistryReference {
  readonly kind: 'registry';
  readonly host: string;
  readonly repository: string;
  /** A tag, or `sha256:` and a hash. */
  readonly reference: string;
}

const DEBIAN_SUITE = /^[a-z0-9][a-z0-9.-]*$/;
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const HOST = /^(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;

const bad = (text: string, why: string): DomusError =>
  new DomusError(
    'E_IMAGE_REFERENCE',
    `${JSON.stringify(text)} names no image: ${why}`,
    'write debian:12, oci:FOLDER, docker-archive:FILE, dir:FOLDER or HOST/NAME:TAG; put -- before a command',
  );

/** Whether the first operand of `run`, where no `--` stands before it, is an image: commands have no colon in their names. */
export const looksLikeImage = (text: string): boolean => text.includes(':') || DIGEST.test(text);

/** @throws DomusError E_IMAGE_REFERENCE */
export function parseReference(text: string): ImageReference {
  const colon = text.indexOf(':');
  const scheme = text.slice(0, Math.max(0, colon));
  const rest = text.slice(colon + 1);
  switch (scheme) {
    case 'debian':
      if (!DEBIAN_SUITE.test(rest)) throw bad(text, 'there is no such suite');
      return { kind: 'debian', suite: rest };
    case 'dir':
      if (rest === '') throw bad(text, 'it names no folder');
      return { kind: 'dir', path: rest };
    case 'oci':
    case 'docker-archive': {
      // A tag has no slash, so that paths with colons can still be written: FOLDER/a:b/.
      const match = /^(.+?)(?::([^:/]+(?::[^:/]+)?))?$/.exec(rest);
      if (!match) throw bad(text, 'it names no file');
      return { kind: scheme, path: match[1]!, tag: match[2] };
    }
    default:
      return parseName(text);
  }
}

/** The same image for a process with another working folder. @throws DomusError E_IMAGE_REFERENCE */
export function withAbsolutePath(text: string, absolutePath: (path: string) => string): string {
  const reference = parseReference(text);
  if (!('path' in reference)) return text;
  const tag = 'tag' in reference && reference.tag !== undefined ? `:${reference.tag}` : '';
  return `${reference.kind}:${absolutePath(reference.path)}${tag}`;
}

function parseName(text: string): ImageReference {
  const slash = text.indexOf('/');
  const first = text.slice(0, Math.max(0, slash));
  const isHost = first !== '' && (/[.:]/.test(first) || first === 'localhost');
  if (!isHost) return { kind: 'stored', name: checkName(text) };
  if (!HOST.test(first)) throw bad(text, `${first} is no host`);
  const rest = text.slice(slash + 1);
  const at = rest.indexOf('@');
  const named = at < 0 ? rest : rest.slice(0, at);
  const colon = named.lastIndexOf(':');
  const repository = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? 'latest' : named.slice(colon + 1);
  const reference = at < 0 ? tag : rest.slice(at + 1);
  if (!REPOSITORY.test(repository)) throw bad(text, `${JSON.stringify(repository)} is no name in a registry`);
  if (!TAG.test(tag)) throw bad(text, `${JSON.stringify(tag)} is no tag`);
  if (at >= 0 && !DIGEST.test(reference)) throw bad(text, 'only SHA-256 digests are known');
  return { kind: 'registry', host: first, repository, reference };
}

/** A name to store an image under: `NAME:TAG`, with the tag `latest` when there is none. @throws DomusError E_IMAGE_REFERENCE */
export function checkName(text: string): string {
  const colon = text.lastIndexOf(':');
  const name = colon < 0 ? text : text.slice(0, colon);
  const tag = colon < 0 ? 'latest' : text.slice(colon + 1);
  if (!REPOSITORY.test(name) || ['debian', 'dir', 'oci', 'docker-archive'].includes(name)) {
    throw bad(text, `${JSON.stringify(name)} cannot be the name of an image`);
  }
  if (!TAG.test(tag)) throw bad(text, `${JSON.stringify(tag)} is no tag`);
  return `${name}:${tag}`;
}
