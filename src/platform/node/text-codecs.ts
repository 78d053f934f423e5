/** Bytes as text. Node 24 has no `Uint8Array.prototype.toHex` and its like yet. */

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const plain = (buffer: Buffer): Uint8Array => new Uint8Array(buffer);

export const toHex = (bytes: Uint8Array): string => view(bytes).toString('hex');
export const toBase64 = (bytes: Uint8Array): string => view(bytes).toString('base64');

/** @throws SyntaxError when it is something else */
export function fromHex(text: string): Uint8Array {
  // It ends before what is not hexadecimal.
  const bytes = Buffer.from(text, 'hex');
  if (2 * bytes.length !== text.length) throw new SyntaxError('not a number of bytes in hexadecimal');
  return plain(bytes);
}
/** @throws SyntaxError when it is something else */
export function fromBase64(text: string): Uint8Array {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    throw new SyntaxError('not base64');
  }
  return plain(Buffer.from(text, 'base64'));
}
