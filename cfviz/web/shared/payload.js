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

/** A message made in the browser: `arrays` are typed arrays or bytes, each with its type's name. */
export class Arrays {
  constructor() {
    this.parts = [];
    this.size = 0;
  }

  /** The entry of an array in the header. */
  add(array, type) {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    const entry = { at: this.size, bytes: bytes.length, type };
    this.parts.push([this.size, bytes]);
    this.size += 8 * Math.ceil(bytes.length / 8);
    return entry;
  }

  /** The message with a header. */
  packed(header) {
    const body = new Uint8Array(this.size);
    for (const [at, bytes] of this.parts) body.set(bytes, at);
    return joined(header, body);
  }
}

/** The same message with other entries in its header: another start, or words that it came without. */
export function changed(message, entries) {
  const { header } = decode(message);
  const length = new DataView(message.buffer, message.byteOffset, 4).getUint32(0, true);
  return joined({ ...header, ...entries }, message.subarray(4 + length));
}

function joined(header, body) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = 8 * Math.ceil((text.length + 4) / 8) - 4; // what follows begins at a multiple of 8
  const out = new Uint8Array(4 + length + body.length).fill(32, 4, 4 + length);
  new DataView(out.buffer).setUint32(0, length, true);
  out.set(text, 4);
  out.set(body, 4 + length);
  return out;
}
