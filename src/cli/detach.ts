/** Ctrl-] as the way out of a raw terminal, where every other key belongs to the guest. */
import type { ByteSource } from '../platform/platform.ts';

const CTRL_RIGHT_BRACKET = 0x1d;

/** Pass `source` on until Ctrl-] is typed; then call `leave` and end. */
export async function* detachable(source: ByteSource, leave: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    const at = chunk.indexOf(CTRL_RIGHT_BRACKET);
    if (at < 0) {
      yield chunk;
      continue;
    }
    if (at > 0) yield chunk.subarray(0, at);
    leave();
    return;
  }
}
