// Where the embedding figure meets Streamlit.

import { EmbeddingFigure } from "./figure.js";
import { driven } from "../shared/markup.js";

const shown = new WeakMap(); // parent element -> figure

function streamlit({ parentElement, data, setStateValue }) {
  const box = parentElement.querySelector(".em-host") ?? parentElement;
  const commit = (state) => setStateValue("commit", state);
  let figure = shown.get(box);
  if (figure?.ui.root.isConnected) {
    figure.commit = commit;
    figure.load(data);
    figure.dress();
  } else {
    figure = new EmbeddingFigure(box, data, commit);
    shown.set(box, figure);
    figure.leave = driven(figure.header.name, (to) => figure.set(to), (quiz) => figure.quiz(quiz));
  }
  return () => {
    figure.leave();
    figure.close();
    shown.delete(box);
  };
}

export default streamlit;
