// Where the embedding figure meets Streamlit.

import { driven } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";
import { EmbeddingFigure } from "./figure.js";

const REST = "cfviz.rest"; // on window: figure name -> the layers that follow its first message

export default onPage(
  "em-host",
  (box, data, commit) => {
    const figure = new EmbeddingFigure(box, data, commit);
    const undrive = driven(
      figure.header.name,
      (to) => figure.set(to),
      (quiz) => figure.quiz(quiz),
    );
    figure.more = () => {
      const rest = window[REST]?.[figure.header.name];
      if (rest) figure.join(rest);
    };
    window.addEventListener(REST, figure.more);
    figure.leave = () => {
      undrive?.();
      window.removeEventListener(REST, figure.more);
    };
    return figure;
  },
  (figure) => figure.more(), // the rest may have come before the message it belongs to
);
