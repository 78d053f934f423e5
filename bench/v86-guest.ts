/**
 * Runs one 32-bit bare program (programs/support/bare32-start.S) on v86 in this process: `node v86-guest.ts BIOS VGA-BIOS ELF COUNT`. What
 * the guest writes to its first serial port goes to standard output as it comes.
 */
import { readFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The part of v86's interface that is used here. The package is optional, so its own types may not be there. */
interface Emulator {
  add_listener(event: 'serial0-output-byte', listener: (byte: number) => void): void;
}
type V86 = new (options: Record<string, unknown>) => Emulator;

const image = (file: string) => {
  const { buffer, byteOffset, byteLength } = readFileSync(file);
  return { buffer: buffer.slice(byteOffset, byteOffset + byteLength) };
};

const [bios, vgaBios, kernel, count] = process.argv.slice(2) as [string, string, string, string];
const entry = import.meta.resolve('v86');
const { V86: create } = (await import(entry)) as { V86: V86 };
const emulator = new create({
  wasm_path: fileURLToPath(new URL('v86.wasm', entry)),
  memory_size: 64 << 20,
  bios: image(bios),
  vga_bios: image(vgaBios),
  multiboot: image(kernel),
  cmdline: count,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  autostart: true,
});
let line = '';
emulator.add_listener('serial0-output-byte', byte => {
  line += String.fromCharCode(byte);
  if (byte !== 10) return;
  writeSync(1, line);
  line = '';
});
