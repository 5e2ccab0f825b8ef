// The tools beside the title of every page: what photos are drawn from, and the whole screen for a presenter,
// whose keys turn the pages or a lesson's steps.

import { el } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";
import { rove } from "../shared/near.js";
import { showInput } from "../shared/photo.js";

const TURNS = { PageDown: "next", PageUp: "back" };

export default onPage("view", open, (tools, { setTriggerValue }) => {
  tools.ask = (what) => setTriggerValue("asked", what);
});

function open(box, first) {
  const tools = { root: el("div.tools", { role: "toolbar" }) };
  const button = (what, act) => {
    const made = el("button", { type: "button" });
    made.addEventListener("click", act ?? (() => tools.ask(what)));
    return made;
  };
  const ui = {
    input: button("input", () => {
      const chosen = ui.input.getAttribute("aria-pressed") !== "true";
      mark(chosen);
      tools.ask(chosen ? "input" : "photo");
    }),
    full: button("full", () => {
      // Where the browser refuses, the large type and the figure remain.
      document.documentElement.requestFullscreen?.().catch(() => {});
      tools.ask("full");
    }),
    back: button("back"),
    place: el("span.place", { role: "status" }),
    next: button("next"),
    leave: button("leave", leave),
    keys: el("span.keys"),
  };
  tools.root.append(ui.keys, ui.input, ui.full, ui.back, ui.place, ui.next, ui.leave);
  box.replaceChildren(tools.root);
  rove(tools.root, "button");

  function mark(chosen) {
    ui.input.setAttribute("aria-pressed", chosen);
    showInput(chosen);
  }
  function leave() {
    if (document.fullscreenElement) document.exitFullscreen();
    tools.ask("leave");
  }

  tools.load = (data) => {
    const { words, present } = data;
    tools.data = data;
    tools.root.setAttribute("aria-label", words.label);
    for (const name of ["input", "full", "back", "next", "leave", "place", "keys"])
      ui[name].textContent = words[name];
    [ui.input.title, ui.full.title] = [words.input_help, words.full_help];
    ui.input.hidden = present || !data.photo;
    ui.full.hidden = present;
    for (const one of [ui.back, ui.place, ui.next, ui.leave, ui.keys]) one.hidden = !present;
    [ui.back.disabled, ui.next.disabled] = [!data.back, !data.next];
    mark(data.input);
    const there = [...tools.root.querySelectorAll("button:not([hidden], [disabled])")];
    const at = there.find((one) => one === tools.root.getRootNode().activeElement) ?? there[0];
    for (const one of there) one.tabIndex = one === at ? 0 : -1;
  };

  const changed = () => tools.data.present && !document.fullscreenElement && tools.ask("leave");
  const pressed = (event) => {
    if (!tools.data.present || event.defaultPrevented) return;
    if (event.key === "Escape") return leave();
    const what = TURNS[event.key];
    if (!what) return;
    event.preventDefault();
    if (tools.data[what]) tools.ask(what);
  };
  document.addEventListener("fullscreenchange", changed);
  document.addEventListener("keydown", pressed);
  tools.close = () => {
    document.removeEventListener("fullscreenchange", changed);
    document.removeEventListener("keydown", pressed);
  };
  tools.load(first);
  return tools;
}
