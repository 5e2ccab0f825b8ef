// A figure's photo: the part of the original that the input shows, or the input's own pixels.
// A figure's own message brings the input's pixels. The page sends the original's part once, whichever
// figures show it: those whose input has the same digest.

const SHELF = "cfviz.photos"; // on window, and the name of the event that tells of a change
const KEPT = 4; // originals, the latest

/** Digest of an input -> the original's part; and whether the reader wants the input's pixels instead. */
function shelf() {
  return (window[SHELF] ??= { exact: false, originals: new Map() });
}

function tell() {
  window.dispatchEvent(new Event(SHELF));
}

/** Give the original's part to all figures that show an input. */
export async function putOriginal(of, file) {
  const { originals } = shelf();
  if (originals.has(of)) return;
  const blob = new Blob([file], { type: "image/jpeg" });
  originals.set(of, null);
  originals.set(of, { bitmap: await createImageBitmap(blob), url: URL.createObjectURL(blob) });
  const [oldest] = originals.keys();
  if (originals.size > KEPT) originals.delete(oldest);
  tell();
}

/** Call `show` with an input's part of the original, or null, now and at each change; returns the end. */
export function onOriginal(of, show) {
  const look = () => {
    const { exact, originals } = shelf();
    show((!exact && originals.get(of)) || null, exact);
  };
  window.addEventListener(SHELF, look);
  look();
  return () => window.removeEventListener(SHELF, look);
}

/** Show the pixels of the input in every figure, or the original. */
export function showInput(exact) {
  if (shelf().exact === exact) return;
  shelf().exact = exact;
  tell();
}

/** Whether the reader wants to see the pixels of the input. */
export function showsInput() {
  return shelf().exact;
}

/** Draw a photo into a box; the pixels of an input stay squares where the reader asked for them. */
export function drawPhoto(pen, photo, ...where) {
  const before = pen.imageSmoothingEnabled;
  pen.imageSmoothingEnabled = !shelf().exact;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(photo, ...where);
  pen.imageSmoothingEnabled = before;
}

export class Photo {
  /**
   * @param of digest of the input's pixels
   * @param png the input's pixels
   * @param show called with the bitmap to draw, at first and at each change
   */
  constructor(of, png, show) {
    const blob = new Blob([png], { type: "image/png" });
    this.url = URL.createObjectURL(blob);
    createImageBitmap(blob).then((input) => {
      if (!this.closed) this.end = onOriginal(of, (original) => show(original?.bitmap ?? input));
    });
  }

  close() {
    this.closed = true;
    this.end?.();
    URL.revokeObjectURL(this.url);
  }
}

/** Show another photo in a figure that lays itself out around its photo, and mark the figure as ready. */
export function showPhoto(figure, root, of, png) {
  figure.picture?.close();
  figure.picture = new Photo(of, png, (photo) => {
    figure.photo = photo;
    figure.layOut();
    root.dataset.ready = "";
  });
}
