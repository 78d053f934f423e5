/** Network devices (public/io/netif.h): requests, responses, and what extra information stands between them. */
import { aligned, struct, u8, u16, u32 } from '../../base/struct.ts';
import { sring } from './ring.ts';
import { i16 } from './types.ts';

export const NetifTxRequest = struct('netif_tx_request', {
  gref: u32,
  offset: u16,
  flags: u16,
  id: u16,
  size: u16,
});
export const NetifTxResponse = struct('netif_tx_response', { id: u16, status: i16 });
export const NetifRxRequest = struct('netif_rx_request', { id: u16, pad: u16, gref: u32 });
export const NetifRxResponse = struct('netif_rx_response', { id: u16, offset: u16, flags: u16, status: i16 });
/** In the form that it has for segmentation; it takes the place of a request or of a response. */
export const NetifExtraInfo = struct('netif_extra_info', {
  type: u8,
  flags: u8,
  'u.gso.size': u16,
  'u.gso.type': u8,
  'u.gso.pad': u8,
  'u.gso.features': u16,
});

export const NetifTxSring = sring('netif_tx', NetifTxRequest);
/** Request and response are of one size; the request has the larger alignment. */
export const NetifRxSring = sring('netif_rx', aligned(4, NetifRxRequest));

export const NETTXF_csum_blank = 1 << 0;
export const NETTXF_data_validated = 1 << 1;
export const NETTXF_more_data = 1 << 2;
export const NETTXF_extra_info = 1 << 3;

export const NETRXF_data_validated = 1 << 0;
export const NETRXF_csum_blank = 1 << 1;
export const NETRXF_more_data = 1 << 2;
export const NETRXF_extra_info = 1 << 3;

export const XEN_NETIF_EXTRA_TYPE_GSO = 1;
export const XEN_NETIF_EXTRA_FLAG_MORE = 1 << 0;
export const XEN_NETIF_GSO_TYPE_TCPV4 = 1;
export const XEN_NETIF_GSO_TYPE_TCPV6 = 2;

export const NETIF_RSP_DROPPED = -2;
export const NETIF_RSP_ERROR = -1;
export const NETIF_RSP_OKAY = 0;
export const NETIF_RSP_NULL = 1;

/** Slots that a packet of 64 KiB may need, so that every frontend and backend takes that many. */
export const XEN_NETIF_NR_SLOTS_MIN = 18;
export const XEN_NETIF_MAX_TX_SIZE = 0xffff;
