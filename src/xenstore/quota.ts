/**
 * What one unprivileged domain may use of xenstore. The defaults are those of Xen's xenstored; domain 0 has no limits.
 */
import { REL_PATH_MAX } from './wire.ts';

export interface Quotas {
  /** Nodes that a domain may own before it may create no more (ENOSPC). */
  readonly nodes: number;
  /** ENOSPC beyond. */
  readonly watches: number;
  /** Transactions open at a time (ENOSPC beyond). */
  readonly transactions: number;
  /** Nodes that one transaction may touch (ENOSPC beyond). */
  readonly transactionNodes: number;
  /** Bytes of one node: value, permissions, names of children and a fixed part (ENOSPC beyond). */
  readonly nodeBytes: number;
  /** Permission entries of one node (ENOSPC beyond). */
  readonly nodePermissions: number;
  /** Length of a path behind `/local/domain/N/` (EINVAL beyond). */
  readonly pathBytes: number;
  /** Replies that wait for room in the ring; at this number no further request is read from it. */
  readonly outstandingReplies: number;
  /** Bytes of watch events that wait for room in the ring; further events are lost. */
  readonly outstandingEventBytes: number;
}

export const DEFAULT_QUOTAS: Quotas = {
  nodes: 1000,
  watches: 128,
  transactions: 10,
  transactionNodes: 1024,
  nodeBytes: 2048,
  nodePermissions: 5,
  pathBytes: REL_PATH_MAX,
  outstandingReplies: 20,
  outstandingEventBytes: 1 << 20,
};
