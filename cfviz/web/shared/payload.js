// Reads the message written by cfviz/figures/live/message.py: a header and the arrays behind it.

const ARRAYS = {
  int8: Int8Array,
  int16: Int16Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  float32: Float32Array,
  "image/png": Uint8Array,
  "image/jpeg": Uint8Array,
};

/** Length of the header (uint32, little endian), JSON header, arrays; copied: the buffer may be unaligned. */
export function decode(message) {
  const bytes = message instanceof Uint8Array ? message : new Uint8Array(message);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const body = 4 + length;
  const array = (part) => {
    const from = body + part.at;
    return new ARRAYS[part.type](bytes.slice(from, from + part.bytes).buffer);
  };
  return { header, array };
}

/** The id in a message's header; null if there is no message. */
export function peek(message) {
  return message && message.byteLength > 4 ? decode(message).header.id : null;
}

/** The same message with other entries in its header: another start, or words that it came without. */
export function changed(message, entries) {
  const { header } = decode(message);
  const old = new DataView(message.buffer, message.byteOffset, 4).getUint32(0, true);
  const text = new TextEncoder().encode(JSON.stringify({ ...header, ...entries }));
  const length = 8 * Math.ceil((text.length + 4) / 8) - 4; // what follows begins at a multiple of 8
  const out = new Uint8Array(message.byteLength - old + length).fill(32, 4, 4 + length);
  new DataView(out.buffer).setUint32(0, length, true);
  out.set(text, 4);
  out.set(message.subarray(4 + old), 4 + length);
  return out;
}
