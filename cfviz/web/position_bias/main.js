// Where the figures meet Streamlit: the message says which of the four it is.

import { AnswerPart } from "./answer.js";
import { MadePart } from "./made.js";
import { driven } from "../shared/markup.js";
import { decode } from "../shared/payload.js";
import { ResizedPart } from "./resized.js";
import { SurfacesPart } from "./surfaces.js";

const PARTS = { surfaces: SurfacesPart, made: MadePart, resized: ResizedPart, answer: AnswerPart };
const shown = new WeakMap(); // parent element -> figure

function streamlit({ parentElement, data, setStateValue }) {
  const box = parentElement.querySelector(".pb-host") ?? parentElement;
  const commit = (state) => setStateValue("commit", state);
  let figure = shown.get(box);
  if (figure?.root.isConnected) {
    figure.commit = commit;
    figure.load(data);
    figure.dress();
  } else {
    figure = new PARTS[decode(data).header.part](box, data, commit);
    shown.set(box, figure);
    const { name } = figure.header;
    figure.leave = name ? driven(name, (to) => figure.go(to), (quiz) => figure.quiz(quiz)) : () => {};
  }
  figure.more = () => setStateValue("more", Date.now());
  return () => {
    figure.leave();
    figure.close();
    shown.delete(box);
  };
}

export default streamlit;
