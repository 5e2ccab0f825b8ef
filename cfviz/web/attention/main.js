// Where the figure meets its surroundings: Streamlit, or a page of its own.

import { Figure } from "./figure.js";
import { driven } from "../shared/markup.js";

const REST = "cfviz.rest"; // on window: figure name -> the blocks that follow its first message
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
  const go = (to) => {
    figure.rest();
    figure.set(to);
  };
  figure.more = () => {
    const rest = window[REST]?.[figure.header.name];
    if (rest) figure.join(rest);
  };
  const still = driven(figure.header.name, go, (quiz) => figure.quiz(quiz));
  figure.more();
  window.addEventListener(REST, figure.more);
  figure.leave = () => {
    still();
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
