/** A file or folder of the host as a tar archive, piece by piece, under another name if wanted. */
import { DomusError } from '../../base/errors.ts';
import { padding, TAR_END, tarHeader } from '../../image/archive/tar-writer.ts';
import {
  type HostEntry,
  linkTarget,
  lookAt,
  namesIn,
  readPieces,
} from '../../platform/node/transfer-files.ts';

export interface PackOptions {
  /** The name of what is packed; empty: its contents only. */
  readonly rootName: string;
  /** Hears of what has no place in an archive: sockets, devices. */
  readonly onSkip: (path: string) => void;
}

const changed = (path: string) =>
  new DomusError(
    'E_COPY_FILE',
    `${path} became shorter while it was read`,
    'copy it again when nobody writes to it',
  );

async function* packFile(path: string, name: string, entry: HostEntry): AsyncGenerator<Uint8Array> {
  yield tarHeader({ ...entry, type: 'file', name });
  let size = 0;
  for await (const piece of readPieces(path, entry.size)) {
    size += piece.length;
    yield piece;
  }
  // The header has promised more: an archive that goes on would be read wrongly.
  if (size < entry.size) throw changed(path);
  yield padding(size);
}

async function* packEntry(path: string, name: string, options: PackOptions): AsyncGenerator<Uint8Array> {
  const entry = await lookAt(path);
  if (!entry) return;
  if (entry.type === 'file') yield* packFile(path, name, entry);
  else if (entry.type === 'symlink') {
    yield tarHeader({ ...entry, type: 'symlink', name, size: 0, link: await linkTarget(path) });
  } else if (entry.type === 'directory') {
    if (name !== '') yield tarHeader({ ...entry, type: 'directory', name: `${name}/`, size: 0 });
    for (const child of await namesIn(path)) {
      yield* packEntry(`${path}/${child}`, name === '' ? child : `${name}/${child}`, options);
    }
  } else options.onSkip(path);
}

export async function* packTar(path: string, options: PackOptions): AsyncGenerator<Uint8Array> {
  yield* packEntry(path, options.rootName, options);
  yield TAR_END;
}
