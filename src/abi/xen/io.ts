/** Ring pages that every guest has: console (public/io/console.h) and xenstore (public/io/xs_wire.h). */
import { bytes, struct, u32 } from '../../base/struct.ts';

export const XenconsInterface = struct('xencons_interface', {
  in: bytes(1024),
  out: bytes(2048),
  in_cons: u32,
  in_prod: u32,
  out_cons: u32,
  out_prod: u32,
});

export const XENSTORE_RING_SIZE = 1024;
export const XENSTORE_PAYLOAD_MAX = 4096;
export const XENSTORE_ABS_PATH_MAX = 3072;
export const XENSTORE_REL_PATH_MAX = 2048;

export const XenstoreDomainInterface = struct('xenstore_domain_interface', {
  req: bytes(XENSTORE_RING_SIZE),
  rsp: bytes(XENSTORE_RING_SIZE),
  req_cons: u32,
  req_prod: u32,
  rsp_cons: u32,
  rsp_prod: u32,
  server_features: u32,
  connection: u32,
  error: u32,
});

/** XS_*: message types. */
export const Xs = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
} as const;

export const XsdSockmsg = struct('xsd_sockmsg', { type: u32, req_id: u32, tx_id: u32, len: u32 });
