/**
 * Chromium for tests. Where the machine has none, Debian's packages of it are fetched by the machine's own apt, into lists and a cache of
 * its own, and unpacked in Domus' cache folder: no root is needed, and nothing is installed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { DomusError } from '../../src/base/errors.ts';
import { callApt, privateConfiguration, reason } from '../../src/image/apt.ts';
import {
  defaultCacheFolder,
  listFolder,
  makeFolder,
  removeFile,
  withLock,
} from '../../src/platform/node/cache-folder.ts';
import { findExecutable } from '../../src/platform/node/host-info.ts';
import { runProgram } from '../../src/platform/node/program.ts';

const PACKAGE = 'chromium-headless-shell';
const PROGRAM = `usr/lib/chromium/${PACKAGE}`;
/** What Debian's packages call the libraries' folder. */
const LIBRARIES = 'usr/lib/x86_64-linux-gnu';
/** It is to ask nobody for anything. */
const QUIET = [
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
  ...['--disable-gpu', '--disable-quic', '--no-first-run'],
];

/** `install` of packages that this machine lacks, downloaded alone. It must know what is installed. */
const configuration = (folder: string) =>
  `${privateConfiguration(folder)}Dir::State::status "/var/lib/dpkg/status";\nDebug::NoLocking "true";\n`;

async function apt(folder: string, words: readonly string[]): Promise<void> {
  const call = { configuration: join(folder, 'apt.conf'), text: configuration(folder) };
  const result = await callApt('apt-get', words, call);
  if (result.code === 0) return;
  throw new DomusError('E_PACKAGE_DOWNLOAD', `apt-get ${words[0]} failed: ${reason(result)}`);
}

/** Folder of a Chromium that was unpacked, now or earlier. */
async function unpackedChromium(): Promise<string> {
  const folder = join(defaultCacheFolder(), 'test-chromium');
  const root = join(folder, 'root');
  await makeFolder(folder);
  return withLock(join(folder, 'lock'), async () => {
    if (existsSync(join(folder, 'complete'))) return root;
    const archives = join(folder, 'cache/archives');
    for (const part of ['lists/partial', 'cache/archives/partial']) await makeFolder(join(folder, part));
    await apt(folder, ['update']);
    await apt(folder, ['install', '--yes', '--no-install-recommends', '--download-only', PACKAGE]);
    await makeFolder(root);
    for (const name of await listFolder(archives)) {
      if (!name.endsWith('.deb')) continue;
      const unpacked = await runProgram(['dpkg-deb', '-x', join(archives, name), root]);
      if (unpacked?.code !== 0) throw new DomusError('E_PACKAGE_CONTENTS', `dpkg-deb cannot unpack ${name}`);
    }
    await removeFile(join(folder, 'cache'));
    await makeFolder(join(folder, 'complete'));
    return root;
  });
}

/** The browser, or why there is none. On a CI machine there has to be one. */
export async function launchChromium(): Promise<Browser | string> {
  const args = ['--no-sandbox', ...QUIET];
  const installed = findExecutable('chromium') ?? findExecutable(PACKAGE);
  if (installed) return chromium.launch({ executablePath: installed, args });
  try {
    const root = await unpackedChromium();
    const env = { ...process.env, LD_LIBRARY_PATH: join(root, LIBRARIES) } as Record<string, string>;
    return await chromium.launch({ executablePath: join(root, PROGRAM), args, env });
  } catch (error) {
    const isMissing = error instanceof DomusError && /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code);
    if (!isMissing || process.env.CI) throw error;
    return `no Chromium to be had: ${error.message}`;
  }
}
