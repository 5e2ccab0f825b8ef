// Where the figure of detectors and segmenters meets Streamlit.

import { onPage } from "../shared/mount.js";
import { DenseFigure } from "./figure.js";

const REST = "cfviz.rest"; // on window: figure name -> what follows its first message
const FOLLOW = [".views", "", ".held"]; // the other views, reasons of the best scores, those of what is held

export default onPage(
  "dn-host",
  (box, data, commit) => {
    const figure = new DenseFigure(box, data, commit);
    figure.more = () => {
      const { name } = figure.header;
      for (const rest of FOLLOW.map((end) => window[REST]?.[`${name}${end}`])) if (rest) figure.join(rest);
    };
    window.addEventListener(REST, figure.more);
    figure.leave = () => window.removeEventListener(REST, figure.more);
    return figure;
  },
  (figure) => figure.more(), // the rest may have come before the message it belongs to
);
