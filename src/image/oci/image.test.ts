/** OCI images from a layout, an archive and a registry: what comes out, and what happens to damaged and hostile ones. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DomusError } from '../../base/errors.ts';
import { nodeBlockFiles } from '../../platform/node/block-files.ts';
import { createNodeClock } from '../../platform/node/clock.ts';
import { nodeEntropy } from '../../platform/node/entropy.ts';
import { damaged, hasCode, seeded } from '../fuzz.fixture.ts';
import { parseReference, type RegistryReference } from '../reference.ts';
import { Ext4, type StoredFile } from '../rootfs/ext4/file-system.ts';
import { FileTree } from '../rootfs/tree.ts';
import type { ImageSource } from '../source/source.ts';
import { ImageStore } from '../store.ts';
import { openDockerArchive } from './docker-archive.ts';
import { openLayout } from './layout.ts';
import { openRegistryImage } from './registry.ts';
import { dockerArchive, type SampleImage, sampleImage, writeLayout } from './sample.fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-oci-'));
const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});
const host = { files: nodeBlockFiles, clock: createNodeClock(), entropy: nodeEntropy };

const IMAGE = sampleImage(
  [
    [
      { name: 'etc/passwd', data: 'root:x:0:0::/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n' },
      { name: 'etc/group', data: 'root:x:0:\nweb:x:102:\nlog:x:103:other,web\n' },
      { name: 'bin/tool', data: 'tool', mode: 0o4755, uid: 70_000, xattrs: { 'user.a': 'b' } },
      { name: 'old', data: 'x' },
    ],
    [
      { name: '.wh.old' },
      { name: 'bin/link', type: '1', link: 'bin/tool' },
      { name: 'dev/null', type: '3', major: 1, minor: 3 },
    ],
    [{ name: 'srv/', type: '5', uid: 101, gid: 102, mode: 0o750 }],
  ],
  { Env: ['A=1', 'B=x=y', 'odd'], Entrypoint: ['/bin/tool'], Cmd: ['go'], WorkingDir: '/srv', User: 'web' },
);

async function unpack(source: ImageSource): Promise<FileTree<StoredFile>> {
  const facts = { uuid: new Uint8Array(16), hashSeed: new Uint8Array(16), label: '', time: 0 };
  const fs = new Ext4({ write: () => {} }, { sizeBytes: 256 << 20, ...facts });
  const tree = new FileTree<StoredFile>();
  await source.fill(fs, tree);
  await fs.finish(tree);
  return tree;
}

async function checkImage(source: ImageSource): Promise<void> {
  const tree = await unpack(source);
  assert.equal(source.identity, `oci ${IMAGE.configHash}`);
  assert.deepEqual(source.config, {
    env: { A: '1', B: 'x=y' },
    entrypoint: ['/bin/tool'],
    command: ['go'],
    workingFolder: '/srv',
    user: { uid: 101, gid: 102, groups: [102, 103] },
  });
  const tool = tree.find('bin/tool');
  assert.equal(tool?.attributes.mode, 0o4755);
  assert.equal(tool?.attributes.uid, 70_000);
  assert.deepEqual([...tool!.attributes.xattrs.keys()], ['user.a']);
  assert.equal(tree.find('bin/link'), tool);
  assert.equal(tree.find('old'), undefined);
  assert.deepEqual([tree.find('dev/null')?.kind, tree.find('srv')?.attributes.mode], ['char-device', 0o750]);
}

let nrLayouts = 0;
function layoutOf(image: SampleImage, change: (blobs: Map<string, Uint8Array>) => void = () => {}): string {
  const path = join(folder, `layout-${++nrLayouts}`);
  const blobs = new Map(image.blobs);
  change(blobs);
  writeLayout(path, { blobs, index: image.index });
  return path;
}

test('a layout folder', async () => {
  await checkImage(await openLayout(layoutOf(IMAGE), undefined));
  await assert.rejects(openLayout(layoutOf(IMAGE), 'other'), hasCode('E_IMAGE_UNKNOWN'));
  await assert.rejects(openLayout(folder, undefined), hasCode('E_FILE_READ'));
});

test('an archive of "docker save"', async () => {
  const path = join(folder, 'saved.tar');
  writeFileSync(path, dockerArchive(IMAGE, ['example/app:1']));
  await checkImage(await openDockerArchive(host, path, undefined));
  await checkImage(await openDockerArchive(host, path, 'app'));
  await assert.rejects(openDockerArchive(host, path, 'other'), hasCode('E_IMAGE_UNKNOWN'));
  await assert.rejects(openDockerArchive(host, join(folder, 'none'), undefined), hasCode('E_FILE_READ'));
});

interface Registry {
  readonly host: string;
  /** Paths that were asked for and answered. */
  readonly asked: string[];
}

/** A registry that wants a token, as the large ones do. */
async function startRegistry(image: SampleImage, change: (bytes: Uint8Array, path: string) => Uint8Array) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://x');
    if (url.pathname === '/token') {
      assert.equal(url.searchParams.get('scope'), 'repository:team/app:pull');
      response.end(JSON.stringify({ token: 'abc' }));
      return;
    }
    const { port } = server.address() as { port: number };
    if (request.headers.authorization !== 'Bearer abc') {
      const challenge = `Bearer realm="http://127.0.0.1:${port}/token",service="test"`;
      response.writeHead(401, { 'www-authenticate': challenge }).end();
      return;
    }
    const match = /^\/v2\/team\/app\/(manifests|blobs)\/(.+)$/.exec(url.pathname);
    const hash = match?.[2] === '1.0' ? image.indexHash : match?.[2]?.replace('sha256:', '');
    const bytes = hash === undefined ? undefined : image.blobs.get(hash);
    if (!bytes) {
      response.writeHead(404).end();
      return;
    }
    asked.push(url.pathname);
    response.end(change(bytes, url.pathname));
  });
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return { host: `127.0.0.1:${(server.address() as { port: number }).port}`, asked } satisfies Registry;
}

const reference = (text: string) => parseReference(text) as RegistryReference;

test('a registry: token, index, layers into the store, each fetched once', async () => {
  const registry = await startRegistry(IMAGE, bytes => bytes);
  const store = new ImageStore(join(folder, 'store'), host);
  await checkImage(await openRegistryImage(reference(`${registry.host}/team/app:1.0`), { store }));
  const nrBlobs = registry.asked.filter(path => path.includes('/blobs/')).length;
  assert.equal(nrBlobs, 4);
  const pinned = `${registry.host}/team/app@sha256:${IMAGE.indexHash}`;
  await checkImage(await openRegistryImage(reference(pinned), { store }));
  assert.equal(registry.asked.filter(path => path.includes('/blobs/')).length, nrBlobs + 1);
  const missing = openRegistryImage(reference(`${registry.host}/team/app:2.0`), { store });
  await assert.rejects(missing, hasCode('E_REGISTRY'));
  const nowhere = openRegistryImage(reference('127.0.0.1:1/team/app:1.0'), { store });
  await assert.rejects(nowhere, hasCode('E_REGISTRY'));
});

test('a registry that lies', async () => {
  const last = IMAGE.layerHashes[2]!;
  for (const [what, change] of Object.entries({
    layer: (bytes: Uint8Array, path: string) => (path.endsWith(last) ? bytes.map(byte => byte ^ 1) : bytes),
    length: (bytes: Uint8Array, path: string) => (path.endsWith(last) ? bytes.subarray(0, 100) : bytes),
    config: (bytes: Uint8Array, path: string) =>
      path.endsWith(IMAGE.configHash) ? new Uint8Array([...bytes, 32]) : bytes,
    manifest: (bytes: Uint8Array, path: string) =>
      path.endsWith(IMAGE.manifestHash) ? bytes.map((byte, i) => (i === 30 ? byte ^ 1 : byte)) : bytes,
  })) {
    const registry = await startRegistry(IMAGE, change);
    const store = new ImageStore(join(folder, `store-${what}`), host);
    const pull = async () =>
      unpack(await openRegistryImage(reference(`${registry.host}/team/app:1.0`), { store }));
    await assert.rejects(pull, (error: DomusError) => /^E_IMAGE_/.test(error.code), what);
    assert.equal(await store.findBlob(last).then(path => what !== 'layer' || path === undefined), true);
  }
});

test('other machines, other digests, layers that are not what the configuration says', async () => {
  const arm = JSON.parse(new TextDecoder().decode(IMAGE.index)) as { manifests: unknown[] };
  const path = layoutOf(IMAGE);
  const write = (document: unknown) => writeFileSync(join(path, 'index.json'), JSON.stringify(document));
  const [first, second] = arm.manifests as { digest: string; platform: object }[];
  const machine = { os: 'linux', architecture: 's390x' };
  write({ ...arm, manifests: [first, { ...second, platform: machine }] });
  await assert.rejects(openLayout(path, undefined), hasCode('E_IMAGE_UNSUPPORTED'));
  write({ ...arm, manifests: [{ ...second, digest: `sha512:${'0'.repeat(128)}` }] });
  await assert.rejects(openLayout(path, undefined), hasCode('E_IMAGE_UNSUPPORTED'));
  write({ ...arm, manifests: [{ ...second, digest: 'sha256:../../../../etc/passwd' }] });
  await assert.rejects(openLayout(path, undefined), hasCode('E_IMAGE_CORRUPT'));
  const [hash] = IMAGE.layerHashes;
  const swapped = layoutOf(IMAGE, blobs => blobs.set(hash!, blobs.get(IMAGE.layerHashes[1]!)!));
  await assert.rejects(
    async () => unpack(await openLayout(swapped, undefined)),
    (error: DomusError) => /^E_IMAGE_/.test(error.code),
  );
});

/** Whatever is in it: a result, or an error about the image; and the host's files stay as they are. */
async function survives(what: string, read: () => Promise<unknown>): Promise<boolean> {
  try {
    await read();
    return true;
  } catch (error) {
    assert.ok(error instanceof DomusError, `${what}: ${error instanceof Error ? error.stack : error}`);
    assert.match(error.code, /^E_(IMAGE|FILE)_/, what);
    return false;
  }
}

test('damaged archives end in an error about the image, or in an image', async () => {
  const good = dockerArchive(IMAGE, ['a:1']);
  const random = seeded(4242);
  const path = join(folder, 'damaged.tar');
  let refused = 0;
  for (let i = 0; i < 150; i++) {
    writeFileSync(path, damaged(good, random));
    const isFine = await survives(`round ${i}`, async () =>
      unpack(await openDockerArchive(host, path, undefined)),
    );
    if (!isFine) refused += 1;
  }
  assert.ok(refused > 50, `${refused} were refused`);
});

test('damaged layers with digests that fit', async () => {
  const random = seeded(777);
  const words = [
    '..',
    '.',
    '/',
    'a',
    'b',
    '../../x',
    'etc',
    '/etc/passwd',
    'a/../..',
    '.wh.a',
    '.wh..wh..opq',
    '',
  ];
  const pick = () => Array.from({ length: 1 + random(4) }, () => words[random(words.length)]!).join('/');
  let unpackedOnes = 0;
  for (let i = 0; i < 150; i++) {
    const layers = Array.from({ length: 1 + random(3) }, () =>
      Array.from({ length: random(12) }, () => ({
        name: pick(),
        type: '000005501234566'[random(15)]!,
        link: pick(),
        data: '',
        mode: random(0o10000),
        uid: random(2) ? 0 : random(2 ** 21),
        major: random(0o7777),
        minor: random(2 ** 21),
      })),
    );
    const image = sampleImage(layers, { User: random(4) ? '' : pick() });
    const isFine = await survives(`round ${i}`, async () => {
      const tree = await unpack(await openLayout(layoutOf(image), undefined));
      assert.ok(!tree.root.entries.has('..') && !tree.root.entries.has('.') && !tree.root.entries.has(''));
    });
    if (isFine) unpackedOnes += 1;
  }
  assert.ok(unpackedOnes > 5, `${unpackedOnes} could be unpacked`);
});

test('a layer that claims more than the disk holds is refused before anything is written', async () => {
  const large = sampleImage([[{ name: 'zeros', claims: 400 << 20 }]]);
  await assert.rejects(
    async () => unpack(await openLayout(layoutOf(large), undefined)),
    hasCode('E_IMAGE_TOO_LARGE'),
  );
});
