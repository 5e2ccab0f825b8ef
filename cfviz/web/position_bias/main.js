// Where the figures meet Streamlit; the message says which one it is for.

import { driven } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";
import { decode } from "../shared/payload.js";
import { AnswerPart } from "./answer.js";
import { LearningPart } from "./learning.js";
import { MadePart } from "./made.js";
import { ResizedPart } from "./resized.js";
import { SurfacesPart } from "./surfaces.js";

const PARTS = {
  surfaces: SurfacesPart,
  made: MadePart,
  resized: ResizedPart,
  answer: AnswerPart,
  learning: LearningPart,
};

export default onPage(
  "pb-host",
  (box, data, commit) => {
    const figure = new PARTS[decode(data).header.part](box, data, commit);
    const { name } = figure.header;
    if (name)
      figure.leave = driven(
        name,
        (to) => figure.go(to),
        (quiz) => figure.quiz(quiz),
      );
    return figure;
  },
  (figure, { setStateValue }) => {
    figure.more = setStateValue && (() => setStateValue("more", Date.now()));
  },
);
