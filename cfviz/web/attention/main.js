// Where the attention figure meets Streamlit.

import { driven } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";
import { Figure } from "./figure.js";

const REST = "cfviz.rest"; // on window: figure name -> the blocks that follow its first message

export default onPage(
  "cf-host",
  (box, data, commit) => {
    const figure = new Figure(box, data, commit);
    const go = (to) => {
      figure.stopTour();
      figure.set(to);
    };
    figure.more = () => {
      const rest = window[REST]?.[figure.header.name];
      if (rest) figure.join(rest);
    };
    const still = driven(figure.header.name, go, (quiz) => figure.quiz(quiz));
    window.addEventListener(REST, figure.more);
    figure.leave = () => {
      still();
      window.removeEventListener(REST, figure.more);
    };
    return figure;
  },
  (figure) => figure.more(), // the rest may have come before the message it belongs to
);
