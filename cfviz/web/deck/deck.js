// A presenter's deck: the figures of a page in views that fit the window, one at a time.
// A part of a figure with `data-slide="1 3"` belongs to its first and third view, others to every view.
// A chart in a section that the reader has opened is a view, too. A step of a lesson stays whole if it fits;
// otherwise its text, its figure and its question are divided into as few views as fit. What is higher than
// the window even alone gets smaller.

export const TURNED = "cfviz.deck"; // on window: the deck, and the event that tells of another view

const deck = (window[TURNED] ??= {
  figures: new Map(), // place -> figure
  on: false,
  whole: false, // a page of steps
  page: null,
  at: 0,
  step: [], // the views of the step on show
});
const GAP = 18; // pixels that stay free below a figure
const LATER = [300, 1000]; // ms after which a figure has its question and its photo
const SOME = 100; // pixels: a figure that is lower has not been drawn yet
const TRIES = 3;
const LEAST = 0.4; // of its size: the smallest that a figure gets
const CHARTS = ["stPlotlyChart", "stImage", "stDataFrame"]
  .map((one) => `.stMainBlockContainer [class*="st-key-section-"] [data-testid="${one}"]`)
  .join(", ");
const DIVIDED = [
  ["say figure ask"],
  ["say figure", "figure ask"],
  ["say ask", "figure"],
  ["say", "ask", "figure"],
];

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
  if (!deck.on || !deck.whole) return;
  deck.later?.forEach(clearTimeout);
  deck.later = LATER.map((ms) => setTimeout(show, ms));
}

/** Take a figure out of the deck. */
export function leave(place, figure) {
  if (deck.figures.get(place) === figure) deck.figures.delete(place);
  if (deck.on) show();
}

const parts = (figure) => [...figure.root.querySelectorAll("[data-slide]")];
const numbers = (part) => part.dataset.slide.split(" ").map(Number);
const main = () => document.querySelector('[data-testid="stMain"]');
const relaid = (figure) => (figure.layOut ?? figure.requestDraw)?.call(figure);

/** Figures and charts of the page: place -> figure. */
function shown() {
  const all = new Map(deck.figures);
  if (!deck.on || deck.whole) return all;
  const charts = [...document.querySelectorAll(CHARTS)].filter((one) => !one.closest("details:not([open])"));
  for (const chart of charts) {
    const place = chart.closest('[data-testid="stElementContainer"]');
    place.setAttribute("data-cf-figure", "");
    all.set(place, { root: place });
  }
  deck.charts = charts.length;
  return all;
}

/** Take in charts that have come or gone; hidden as they are, they do not change the page's size. */
export function refresh() {
  const { charts } = deck;
  if (deck.on && !deck.whole && shown() && deck.charts !== charts) show();
}

/** Make what is higher than the window smaller, as a whole: nothing in it gets wider instead. */
function shrink(place, root) {
  const width = root.clientWidth;
  for (let n = 0, zoom = 1; n < TRIES && over() > 0 && zoom > LEAST; n++) {
    const high = place.offsetHeight;
    zoom = Math.max(LEAST, (zoom * (high - over())) / high);
    Object.assign(root.style, { width: `${width}px`, zoom, marginInline: "auto" });
  }
}

const over = () => main().scrollHeight - main().clientHeight; // pixels that one would have to scroll

function asItIs(root) {
  if (root.style.zoom) Object.assign(root.style, { width: "", zoom: "", marginInline: "" });
}

const top = (node) => node.getBoundingClientRect().top + (main()?.scrollTop ?? 0);

/** The views of all figures, in the order of the page: [place, number from 1]. */
function views(all) {
  if (!deck.on || deck.whole) return [];
  const before = (a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1);
  return [...all.keys()]
    .filter((place) => place.isConnected)
    .sort(before)
    .flatMap((place) => {
      const count = Math.max(1, ...parts(all.get(place)).flatMap(numbers));
      return Array.from({ length: count }, (_, n) => [place, n + 1]);
    });
}

/** Which view is shown, from 0, and how many there are. */
export function position() {
  const of = deck.on && deck.whole ? deck.step.length : views(shown()).length;
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
  if (deck.on && deck.whole) showStep();
  else showFigure();
  window.dispatchEvent(new Event(TURNED));
}

function showFigure() {
  delete document.documentElement.dataset.cfStep;
  const all = shown();
  const order = views(all);
  const now = order[Math.max(0, Math.min(deck.at, order.length - 1))];
  for (const [place, figure] of all) {
    const number = now?.[0] === place ? now[1] : 0;
    place.toggleAttribute("data-cf-away", order.length > 0 && !number);
    if (number) figure.root.dataset.present = number;
    else delete figure.root.dataset.present;
    for (const part of parts(figure))
      part.toggleAttribute("data-away", number > 0 && !numbers(part).includes(number));
    figure.present?.(number);
    asItIs(figure.root);
    if (number || !deck.on) relaid(figure);
  }
  if (now) shrink(now[0], all.get(now[0]).root);
}

/** A step of a lesson in the fewest views that fit; once it is answered, the view with the verdict. */
function showStep() {
  const address = new URLSearchParams(window.location.search);
  const id = `${address.get("lesson")}.${address.get("step")}`;
  if (id !== deck.id) Object.assign(deck, { id, at: 0, told: false, step: DIVIDED[0] });
  const drawn = [...deck.figures.values()].some(({ root }) => root.offsetHeight > SOME);
  if (!drawn && deck.step.length === 1) return lay(DIVIDED[0][0]); // its figure is on its way
  deck.step =
    DIVIDED.find((views) => views.every((view) => view === "figure" || fits(view))) ?? DIVIDED.at(-1);
  const told = Boolean(document.querySelector('.st-key-cf-ask [data-testid="stAlert"]'));
  if (told && !deck.told) deck.at = deck.step.findIndex((view) => view.includes("ask"));
  deck.told = told;
  const view = deck.step[position().at];
  if (fits(view)) return;
  for (const [place, figure] of deck.figures) shrink(place, figure.root);
}

/** Show these parts of the step. */
function lay(view) {
  document.documentElement.dataset.cfStep = view;
  for (const [place, figure] of deck.figures) {
    place.removeAttribute("data-cf-away");
    for (const part of parts(figure)) part.removeAttribute("data-away");
    figure.root.dataset.present = "step";
    figure.present?.(0);
    asItIs(figure.root);
    relaid(figure);
  }
}

function fits(view) {
  lay(view);
  // How high a drawing may be depends on what is beside it, and that on the drawing.
  for (let n = 1; n < TRIES && over() > 0; n++) deck.figures.forEach(relaid);
  return over() <= 0;
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
  const box = node.getBoundingClientRect();
  const ends = [...node.parentElement.children].map((one) => one.getBoundingClientRect().bottom);
  const below = Math.max(box.bottom, ...ends) - box.bottom;
  const further = after.reduce((sum, one) => {
    const margin = Number.parseFloat(getComputedStyle(one).marginTop) || 0;
    return sum + (one.offsetHeight ? one.offsetHeight + margin : 0);
  }, 0);
  return Math.max(160, window.innerHeight - top(node) - below - further - GAP);
}
