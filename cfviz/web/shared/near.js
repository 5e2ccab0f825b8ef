// Arrow keys: their directions, and how they move among many buttons, of which only one is in the tab order.

/** As [right, down], for places. */
export const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** As [rows, columns], for tokens and cells. */
export const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** The nearest of all as seen in the direction [dx, dy]; null at the edge. */
export function nearest(from, all, [dx, dy]) {
  const middle = (element) => {
    const box = element.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const [x, y] = middle(from);
  let best = null;
  let least = Infinity;
  for (const button of all) {
    const [u, v] = middle(button);
    const [along, across] = [(u - x) * dx + (v - y) * dy, Math.abs((u - x) * dy) + Math.abs((v - y) * dx)];
    const cost = along + 3 * across;
    if (along > 2 && cost < least) [best, least] = [button, cost];
  }
  return best;
}

/** Let the arrow keys move from button to button in a box. */
export function rove(box, selector) {
  box.addEventListener("keydown", (event) => {
    const way = WAYS[event.key];
    const from = event.target.closest(selector);
    if (!way || !from) return;
    event.preventDefault();
    const to = nearest(from, [...box.querySelectorAll(selector)], way);
    if (!to) return;
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  });
}
