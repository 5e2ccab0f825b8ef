// Where the figure of two models meets Streamlit.

import { CompareFigure } from "./figure.js";

const shown = new WeakMap(); // parent element -> figure

function streamlit({ parentElement, data, setStateValue }) {
  const box = parentElement.querySelector(".cp-host") ?? parentElement;
  const commit = (state) => setStateValue("commit", state);
  let figure = shown.get(box);
  if (figure?.root.isConnected) {
    figure.commit = commit;
    figure.load(data);
    figure.dress();
  } else {
    figure = new CompareFigure(box, data, commit);
    shown.set(box, figure);
  }
  return () => {
    figure.close();
    shown.delete(box);
  };
}

export default streamlit;
