/* System calls of x86-64 Linux, without a libc. Numbers: arch/x86/entry/syscalls/syscall_64.tbl. */
#ifndef LINUX_H
#define LINUX_H
#include <stdint.h>

enum {
  SYS_read = 0,
  SYS_write = 1,
  SYS_open = 2,
  SYS_close = 3,
  SYS_mmap = 9,
  SYS_mprotect = 10,
  SYS_munmap = 11,
  SYS_rt_sigaction = 13,
  SYS_rt_sigreturn = 15,
  SYS_pipe = 22,
  SYS_getpid = 39,
  SYS_fork = 57,
  SYS_execve = 59,
  SYS_exit = 60,
  SYS_wait4 = 61,
  SYS_kill = 62,
  SYS_unlink = 87,
  SYS_getppid = 110,
};

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
static inline long syscall3(long number, long a, long b, long c) { return syscall6(number, a, b, c, 0, 0, 0); }

/* A system call that must not fail: the process ends with the call's number as its exit code. */
static inline long must(long number, long a, long b, long c) {
  long result = syscall3(number, a, b, c);
  if (result < 0) syscall3(SYS_exit, number, 0, 0);
  return result;
}
_Noreturn static inline void exit_process(int code) {
  syscall3(SYS_exit, code, 0, 0);
  __builtin_unreachable();
}
/* Waits for a child and gives its exit code. */
static inline int wait_for(long process) {
  int status = 0;
  must(SYS_wait4, process, (long)&status, 0);
  return status >> 8 & 255;
}
#endif
