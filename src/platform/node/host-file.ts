/** Reads a file that a user named. */
import { readFile, stat } from 'node:fs/promises';

export type HostFile =
  | { readonly kind: 'contents'; readonly contents: Uint8Array }
  | { readonly kind: 'missing' }
  | { readonly kind: 'unreadable'; readonly why: string };

/** The contents of a file of at most `limitBytes`, or what stands in the way. */
export async function readHostFile(path: string, limitBytes: number): Promise<HostFile> {
  try {
    const facts = await stat(path);
    if (facts.isDirectory()) return { kind: 'unreadable', why: 'it is a folder' };
    if (facts.size > limitBytes)
      return { kind: 'unreadable', why: `it is larger than ${limitBytes >> 20} MiB` };
    const buffer = await readFile(path);
    return {
      kind: 'contents',
      contents: new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength),
    };
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'missing' };
    return { kind: 'unreadable', why: code === 'EACCES' ? 'permission denied' : code };
  }
}
