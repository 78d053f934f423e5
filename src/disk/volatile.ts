/** Disks that nobody will look at after a crash: what waits for the medium elsewhere does not wait here. */
import type { BlockFile, BlockFiles } from '../platform/block-files.ts';
import type { DiskHost } from './host.ts';

const NOTHING = Promise.resolve();

/** As `file`, with a flush that does nothing. */
const volatile = (file: BlockFile): BlockFile => ({
  get path() {
    return file.path;
  },
  set path(path) {
    file.path = path;
  },
  isReadOnly: file.isReadOnly,
  size: () => file.size(),
  read: (position, into) => file.read(position, into),
  write: (position, from) => file.write(position, from),
  readNow: (position, pieces, sizeBytes) => file.readNow(position, pieces, sizeBytes),
  writeNow: (position, pieces, sizeBytes) => file.writeNow(position, pieces, sizeBytes),
  resize: sizeBytes => file.resize(sizeBytes),
  flush: () => NOTHING,
  close: () => file.close(),
});

const volatileFiles = (files: BlockFiles): BlockFiles => ({
  ...files,
  open: async (path, mode) => volatile(await files.open(path, mode)),
  create: async path => volatile(await files.create(path)),
  link: (from, to) => files.link(from, to, false),
  replace: (from, to) => files.replace(from, to, false),
});

export const volatileHost = (host: DiskHost): DiskHost => ({ ...host, files: volatileFiles(host.files) });
