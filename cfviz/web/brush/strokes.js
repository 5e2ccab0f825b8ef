// Strokes as text, as cfviz/data/brush.py reads them, and the fewest points that keep the line of a stroke.

export const WHOLE = 1000; // parts of a side

/** The word of a stroke: `mean-80-400.500-600.500`, `copy-rect-700.300-100.100-300.200`. */
export function word({ how, size, path, source }) {
  const places = [...(source ? [source] : []), ...path];
  return [how, size ?? "rect", ...places.map(([x, y]) => `${x}.${y}`)].join("-");
}

/** The words in a text. */
export function words(text) {
  return text ? text.split("_") : [];
}

/** How many points the strokes of a text have. */
export function points(text) {
  return words(text).reduce((sum, one) => sum + one.split("-").length - 2 - one.startsWith("copy"), 0);
}

export function clip(n) {
  return Math.max(0, Math.min(WHOLE, Math.round(n)));
}

/** Leave out points of a path that lie within `slack` of the line between their neighbours. */
function simplified(path, slack) {
  if (path.length < 3) return path;
  const [a, b] = [path[0], path[path.length - 1]];
  let [far, at] = [0, 0];
  for (let i = 1; i < path.length - 1; i++) {
    const distance = apart(path[i], a, b);
    if (distance > far) [far, at] = [distance, i];
  }
  if (far <= slack) return [a, b];
  return [...simplified(path.slice(0, at + 1), slack).slice(0, -1), ...simplified(path.slice(at), slack)];
}

/** The distance of a point from a line that ends at a and b. */
function apart([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const long = dx * dx + dy * dy;
  const t = long ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / long)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/** A path with no more than `most` points: looser and looser, at last cut short. */
export function limited(path, slack, most) {
  let found = simplified(path, slack);
  for (let i = 0; i < 6 && found.length > most; i++) found = simplified(path, (slack *= 2));
  return found.slice(0, most);
}
