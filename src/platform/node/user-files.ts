/** Files that a user names on the command line or in code. */
import { readFile, stat } from 'node:fs/promises';

/** The whole file, or the system's reason why it cannot be read. Pipes are read to their end; devices have none. */
export async function tryReadFile(path: string): Promise<{ bytes: Uint8Array } | { reason: string }> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) return { reason: 'it is a folder' };
    if (!found.isFile() && !found.isFIFO()) return { reason: 'it is no regular file' };
    return { bytes: await readFile(path) };
  } catch (error) {
    // Node's message repeats the path: 'ENOENT: no such file or directory, open ...'.
    const text = error instanceof Error ? error.message : String(error);
    return { reason: text.replace(/^E[A-Z]+: /, '').replace(/, \w+ .*$/, '') };
  }
}
