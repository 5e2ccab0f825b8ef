// Where the figure meets its surroundings: Streamlit, or a page of its own.

import { Figure } from "./figure.js";

const BOARD = "cfviz.go"; // on window: figure name -> the last place Python sent it to
const REST = "cfviz.rest"; // on window: figure name -> the blocks that follow its first message
const went = (window["cfviz.went"] ??= {}); // figure name -> the last order carried out
const open = new WeakMap(); // parent element -> Figure

/** Put a figure into an element, or tell the one that is there about a new message. */
export function mount(parent, message, commit) {
  let figure = open.get(parent);
  if (figure?.ui.root.isConnected) {
    figure.commit = commit ?? figure.commit;
    figure.load(message);
    figure.more(); // it may have been there before the message it belongs to
    figure.dress();
    return figure;
  }
  figure = new Figure(parent, message, commit);
  open.set(parent, figure);
  const go = () => {
    const order = window[BOARD]?.[figure.header.name];
    if (!order?.seq || order.seq === went[figure.header.name]) return;
    went[figure.header.name] = order.seq;
    figure.rest();
    figure.set(order.to);
  };
  figure.more = () => {
    const rest = window[REST]?.[figure.header.name];
    if (rest) figure.join(rest);
  };
  go();
  figure.more();
  window.addEventListener(BOARD, go);
  window.addEventListener(REST, figure.more);
  figure.leave = () => {
    window.removeEventListener(BOARD, go);
    window.removeEventListener(REST, figure.more);
  };
  return figure;
}

function streamlit({ parentElement, data, setStateValue }) {
  const box = parentElement.querySelector(".cf-host") ?? parentElement;
  const figure = mount(box, data, (state) => setStateValue("commit", state));
  return () => {
    figure.leave();
    figure.close();
    open.delete(box);
  };
}

export default streamlit;
