// Copy the code, or save a plotly chart or a figure of HTML elements as PNG or SVG, all in the browser.

import { copy } from "../shared/copy.js";
import { save } from "./files.js";
import { background, pictureOf } from "./picture.js";

/** Click Plotly's own button, which reads the format and the colours at that moment. */
function saveChart(key, file, format) {
  const plot = document.querySelector(`.st-key-${key.replace(/[^A-Za-z0-9_-]/g, "-")} .js-plotly-plot`);
  const button = plot?.querySelector(".modebar-btn");
  if (!button) return;
  const options = plot._context.toImageButtonOptions;
  const before = { ...options };
  const under = plot.layout.paper_bgcolor;
  Object.assign(options, { format, filename: file });
  // Without it, the light text of a dark page would lie on nothing.
  plot.layout = { ...plot.layout, paper_bgcolor: background() };
  button.click();
  plot.layout = { ...plot.layout, paper_bgcolor: under };
  Object.assign(options, before);
}

const saveFigure = async (key, file, format) => save(`${file}.${format}`, await pictureOf(key, format));

export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".take");
  const { words } = data;
  const button = (text, act, help) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    if (help) made.title = help;
    made.addEventListener("click", () => act(made));
    return made;
  };
  const copied = (made) =>
    copy(data.code).then(() => {
      made.textContent = words.copied;
      setTimeout(() => {
        made.textContent = words.copy_code;
      }, 1600);
    });
  box.replaceChildren(
    ...(data.code ? [button(words.copy_code, copied)] : []),
    ...(data.chart || data.live
      ? [
          ["png", words.png, words.png_help],
          ["svg", words.svg, words.svg_help],
        ].map(([format, text, help]) =>
          button(
            text,
            () =>
              data.chart
                ? saveChart(data.chart, data.file, format)
                : saveFigure(data.live, data.file, format),
            help,
          ),
        )
      : []),
  );
}
