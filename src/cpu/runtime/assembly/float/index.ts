/** x86 floating point: what the CPU engine calls. See control.ts for how the parts share state. */
export * from './sse-binary';
export * from './sse-other';
