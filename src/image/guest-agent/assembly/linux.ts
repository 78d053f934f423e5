/** The one thing that the compiler (scripts/build/elf) puts in place of an import: the system call. */
export declare function syscall(number: i64, a: i64, b: i64, c: i64, d: i64, e: i64, f: i64): i64;
