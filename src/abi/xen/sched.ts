/** Scheduler operations (public/sched.h). */
import { struct, u16, u32, u64 } from '../../base/struct.ts';

/** SCHEDOP_* */
export const Schedop = {
  yield: 0,
  block: 1,
  shutdown: 2,
  poll: 3,
  remote_shutdown: 4,
  shutdown_code: 5,
  watchdog: 6,
  pin_override: 7,
} as const;

export const SHUTDOWN_poweroff = 0;
export const SHUTDOWN_reboot = 1;
export const SHUTDOWN_suspend = 2;
export const SHUTDOWN_crash = 3;
export const SHUTDOWN_watchdog = 4;
export const SHUTDOWN_soft_reset = 5;

export const SchedShutdown = struct('sched_shutdown', { reason: u32 });
export const SchedPoll = struct('sched_poll', { ports: u64, nr_ports: u32, timeout: u64 });
export const SchedRemoteShutdown = struct('sched_remote_shutdown', { domain_id: u16, reason: u32 });
export const SchedWatchdog = struct('sched_watchdog', { id: u32, timeout: u32 });
