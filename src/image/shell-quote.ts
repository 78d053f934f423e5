/** Quoting for POSIX shells. Every string without a NUL comes out of the shell as it went in. */
export const shellQuote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
