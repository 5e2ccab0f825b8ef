// The tools beside the title of every page.

import { onPage } from "../shared/mount.js";
import { showInput } from "../shared/photo.js";

export default onPage("view", open, (tools, { setTriggerValue }) => {
  tools.ask = (what) => setTriggerValue("asked", what);
});

function open(box, first) {
  const input = document.createElement("button");
  input.type = "button";
  box.setAttribute("role", "toolbar");
  box.replaceChildren(input);
  const tools = { root: input };
  tools.load = (data) => {
    box.setAttribute("aria-label", data.words.label);
    input.textContent = data.words.input;
    input.title = data.words.input_help;
    input.hidden = !data.photo;
    mark(data.input);
  };
  const mark = (chosen) => {
    input.setAttribute("aria-pressed", chosen);
    showInput(chosen);
  };
  input.addEventListener("click", () => {
    const chosen = input.getAttribute("aria-pressed") !== "true";
    mark(chosen);
    tools.ask(chosen ? "input" : "photo");
  });
  tools.load(first);
  return tools;
}
