// From a photo's pixels to the model's input, step by step as the library does it: Pillow's bicubic resize in
// whole numbers, the centre crop, the mean and the standard deviation. A test compares every pixel.

const BITS = 22; // of a weight behind the point
const A = -0.5; // of Pillow's cubic
const STRIP = 4_000_000; // pixels of the photo read at once: phones have no room for all of a large one

function cubic(x) {
  const d = Math.abs(x);
  if (d < 1) return ((A + 2) * d - (A + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * A;
  return 0;
}

/** For each pixel after resizing: the first one before, and the weights from there on as whole numbers. */
function weights(before, after) {
  const scale = before / after;
  const wide = Math.max(1, scale);
  const support = 2 * wide;
  return Array.from({ length: after }, (_, n) => {
    const centre = (n + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(before, Math.trunc(centre + support + 0.5));
    const exact = Array.from({ length: end - first }, (_, i) =>
      cubic((i + first - centre + 0.5) * (1 / wide)),
    );
    const sum = exact.reduce((all, one) => all + one, 0);
    return { first, taps: Int32Array.from(exact, (one) => away((one / sum) * 2 ** BITS)) };
  });
}

/** Rounded to the nearest whole number, halves away from zero. */
function away(x) {
  return Math.trunc(x < 0 ? x - 0.5 : x + 0.5);
}

function clipped(sum) {
  return Math.max(0, Math.min(255, sum >> BITS));
}

/**
 * One direction, for some lines of pixels.
 *
 * @param from pixels, and how far apart lines and pixels of a line are in bytes
 * @param to the same of what is written, and the line to begin with
 */
function pass(taps, lines, from, to) {
  for (let line = 0; line < lines; line++) {
    for (let n = 0; n < taps.length; n++) {
      const { first, taps: weight } = taps[n];
      const start = line * from.line + first * from.step;
      const end = (to.first + line) * to.line + n * to.step;
      for (let c = 0; c < 3; c++) {
        let sum = 1 << (BITS - 1);
        for (let i = 0; i < weight.length; i++) sum += weight[i] * from.pixels[start + i * from.step + c];
        to.pixels[end + c] = clipped(sum);
      }
    }
  }
}

/**
 * A photo, resized; first to the side, then down, as Pillow does.
 *
 * @param photo width, height, and `rows(top, count)`, the RGB bytes of some rows
 */
function resized({ width, height, rows }, wide, high) {
  const across = weights(width, wide);
  const narrow = new Uint8Array(3 * wide * height);
  const to = { pixels: narrow, line: 3 * wide, step: 3 };
  const most = Math.max(1, Math.floor(STRIP / width));
  for (let top = 0; top < height; top += most) {
    const count = Math.min(most, height - top);
    const pixels = rows(top, count);
    if (wide === width) narrow.set(pixels, 3 * wide * top);
    else pass(across, count, { pixels, line: 3 * width, step: 3 }, { ...to, first: top });
  }
  if (high === height) return narrow;
  const out = new Uint8Array(3 * wide * high);
  const down = { line: 3, step: 3 * wide };
  pass(weights(height, high), wide, { ...down, pixels: narrow }, { ...down, pixels: out, first: 0 });
  return out;
}

/** Python's round: halves to the even number. */
function even(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 ? low + 1 : low;
}

/** How a photo is fitted to the input: its size after resizing, and the corner of what is cut out. */
export function framed({ width, height }, size, keep) {
  const target = Math.floor(size / keep);
  const other = Math.trunc((target * Math.max(width, height)) / Math.min(width, height));
  const [wide, high] = width <= height ? [target, other] : [other, target];
  const corner = (side) => Math.min(Math.max(even(0.5 * side - size / 2), 0), side - size);
  return { wide, high, left: corner(wide), top: corner(high) };
}

/** The part that the model sees: the short side at `size` / `keep`, its centre cut out. */
export function cropped(photo, size, keep) {
  const { wide, high, left, top } = framed(photo, size, keep);
  const whole = resized(photo, wide, high);
  const rgb = new Uint8Array(3 * size * size);
  for (let row = 0; row < size; row++) {
    const from = 3 * ((top + row) * wide + left);
    rgb.set(whole.subarray(from, from + 3 * size), 3 * size * row);
  }
  return { width: size, height: size, rgb };
}

/** The input of the model: (3, size, size). */
export function normalised({ width, height, rgb }, mean, std) {
  const count = width * height;
  const out = new Float32Array(3 * count);
  const [centre, spread] = [Float32Array.from(mean), Float32Array.from(std)];
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < count; i++)
      out[c * count + i] = Math.fround(Math.fround(rgb[3 * i + c] / 255) - centre[c]) / spread[c];
  }
  return out;
}
