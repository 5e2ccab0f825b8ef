// Where a link leads to a place far down a page: brings it into view once, while the page above still grows.

const WAITS = [0, 500, 1500, 3000]; // milliseconds
const OWN = ["wheel", "touchstart", "pointerdown", "keydown"]; // the reader moves: nothing else does then
const arrived = new WeakSet();

export default ({ parentElement }) => {
  const box = parentElement.host ?? parentElement;
  if (arrived.has(box)) return;
  arrived.add(box);
  const timers = WAITS.map((wait) => setTimeout(() => box.scrollIntoView({ block: "nearest" }), wait));
  const stop = () => timers.forEach(clearTimeout);
  for (const name of OWN) document.addEventListener(name, stop, { once: true, passive: true });
};
