// Where the embedding figure meets Streamlit.

import { driven } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";
import { EmbeddingFigure } from "./figure.js";

export default onPage("em-host", (box, data, commit) => {
  const figure = new EmbeddingFigure(box, data, commit);
  figure.leave = driven(
    figure.header.name,
    (to) => figure.set(to),
    (quiz) => figure.quiz(quiz),
  );
  return figure;
});
