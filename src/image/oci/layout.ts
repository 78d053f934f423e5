/**
 * An OCI layout: a folder with `index.json` and contents under their digests. Source: OCI image specification, image-layout.md.
 */
import { DomusError } from '../../base/errors.ts';
import { joinPath } from '../../platform/node/cache-folder.ts';
import { readStream } from '../../platform/node/file-streams.ts';
import { readHostFile } from '../../platform/node/host-file.ts';
import { corrupt } from '../compress/errors.ts';
import type { ImageSource } from '../source/source.ts';
import { type Contents, findManifest, openOciImage } from './image.ts';
import {
  chooseManifest,
  type Descriptor,
  DOCUMENT_BYTES_MAX,
  parseDocument,
  parseIndex,
} from './manifest.ts';

const REF_NAME = 'org.opencontainers.image.ref.name';

async function document(path: string): Promise<Uint8Array> {
  const file = await readHostFile(path, DOCUMENT_BYTES_MAX);
  if (file.kind === 'contents') return file.contents;
  const why = file.kind === 'missing' ? 'there is no such file' : file.why;
  throw new DomusError('E_FILE_READ', `cannot read ${path}: ${why}`, 'name the folder of an OCI layout');
}

const nameOf = ({ annotations }: Descriptor): string | undefined => {
  const name = annotations[REF_NAME];
  return typeof name === 'string' ? name : undefined;
};

/** The manifest that a tag stands for; without a tag the only one, or the one for this kind of machine. */
function chooseTagged(manifests: readonly Descriptor[], tag: string | undefined, path: string): Descriptor {
  if (tag === undefined) return manifests.length === 1 ? manifests[0]! : chooseManifest(manifests);
  const found = manifests.filter(each => nameOf(each) === tag || nameOf(each)?.endsWith(`:${tag}`));
  if (found.length > 0) return found.length === 1 ? found[0]! : chooseManifest(found);
  const names = manifests.map(nameOf).filter(name => name !== undefined);
  throw new DomusError(
    'E_IMAGE_UNKNOWN',
    `${path} has no image ${tag}`,
    names.length > 0 ? `it has ${names.join(', ')}` : 'leave out the tag',
  );
}

/** @throws DomusError E_FILE_READ, E_IMAGE_* */
export async function openLayout(path: string, tag: string | undefined): Promise<ImageSource> {
  const { imageLayoutVersion } = parseDocument(await document(joinPath(path, 'oci-layout')));
  if (imageLayoutVersion !== '1.0.0') throw corrupt(path, 'it is no OCI layout of version 1.0.0');
  const manifests = parseIndex(parseDocument(await document(joinPath(path, 'index.json'))));
  if (!manifests || manifests.length === 0) throw corrupt(path, 'its index is empty');
  const contents: Contents = {
    async *read({ hash, size }) {
      try {
        yield* readStream(joinPath(path, 'blobs/sha256', hash), { start: 0, size });
      } catch (error) {
        const why = (error as { code?: string }).code ?? String(error);
        throw new DomusError('E_FILE_READ', `cannot read a layer of ${path}: ${why}`, 'get the image again');
      }
    },
  };
  return openOciImage(contents, await findManifest(contents, chooseTagged(manifests, tag, path)));
}
