// A presenter's deck: the figures of a page in views that fit the window, one at a time.
// A part of a figure with `data-slide="1 3"` belongs to its first and third view, others to every view.

export const TURNED = "cfviz.deck"; // on window: the deck, and the event that tells of another view

const deck = (window[TURNED] ??= { figures: new Map(), on: false, whole: false, page: null, at: 0 });
const GAP = 18; // pixels that stay free below a figure

/** Let a page be presented, or no longer; `whole` for a page of steps, which is not divided. */
export function begin(page, on, whole) {
  if (page !== deck.page || on !== deck.on) deck.at = 0;
  Object.assign(deck, { page, on, whole });
  show();
}

/** Take a figure into the deck. */
export function enter(place, figure) {
  deck.figures.set(place, figure);
  if (deck.on || figure.root?.dataset?.present) show();
}

/** Take a figure out of the deck. */
export function leave(place, figure) {
  if (deck.figures.get(place) === figure) deck.figures.delete(place);
  if (deck.on) show();
}

const parts = (figure) => [...figure.root.querySelectorAll("[data-slide]")];
const numbers = (part) => part.dataset.slide.split(" ").map(Number);

/** The views of all figures, in the order of the page: [place, number from 1]. */
function views() {
  if (!deck.on || deck.whole) return [];
  const before = (a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1);
  return [...deck.figures.keys()]
    .filter((place) => place.isConnected)
    .sort(before)
    .flatMap((place) => {
      const count = Math.max(1, ...parts(deck.figures.get(place)).flatMap(numbers));
      return Array.from({ length: count }, (_, n) => [place, n + 1]);
    });
}

/** Which view is shown, from 0, and how many there are. */
export function position() {
  const of = views().length;
  return { at: Math.max(0, Math.min(deck.at, of - 1)), of };
}

/** Go on to the next view (1) or back (-1); return whether there is one. */
export function turn(by) {
  const { at, of } = position();
  if (at + by < 0 || at + by >= of) return false;
  deck.at = at + by;
  show();
  return true;
}

/** Show the view, lay its figure out, and tell the tools. */
export function show() {
  const all = views();
  const now = all[position().at];
  for (const [place, figure] of deck.figures) {
    const number = now?.[0] === place ? now[1] : 0;
    place.toggleAttribute("data-cf-away", all.length > 0 && !number);
    if (number) figure.root.dataset.present = number;
    else delete figure.root.dataset.present;
    for (const part of parts(figure))
      part.toggleAttribute("data-away", number > 0 && !numbers(part).includes(number));
    figure.present?.(number);
    if (number || deck.whole || !deck.on) (figure.layOut ?? figure.requestDraw)?.call(figure);
  }
  window.dispatchEvent(new Event(TURNED));
}

/**
 * The height that a drawing may have in CSS pixels.
 *
 * @param node the drawing; what follows it in its column stays in sight
 * @param usual the height unless a presenter shows the page, who sees the whole figure without scrolling
 * @param after what follows below the column
 */
export function room(node, usual, ...after) {
  if (!deck.on || !node.offsetHeight) return usual;
  const main = document.querySelector('[data-testid="stMain"]');
  const box = node.getBoundingClientRect();
  const ends = [...node.parentElement.children].map((one) => one.getBoundingClientRect().bottom);
  const below = Math.max(box.bottom, ...ends) - box.bottom;
  const further = after.reduce((sum, one) => {
    const margin = Number.parseFloat(getComputedStyle(one).marginTop) || 0;
    return sum + (one.offsetHeight ? one.offsetHeight + margin : 0);
  }, 0);
  return Math.max(160, window.innerHeight - (box.top + (main?.scrollTop ?? 0)) - below - further - GAP);
}
