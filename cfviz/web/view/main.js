// The tools beside the title of every page: what photos are drawn from, and the whole screen for a presenter,
// whose keys turn the views of a page, then the pages; in lessons, the steps.

import { begin, position, refresh, show, TURNED, turn } from "../deck/deck.js";
import { el } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";
import { rove } from "../shared/near.js";
import { showInput } from "../shared/photo.js";
import { fill } from "../shared/text.js";

const TURNS = { PageDown: "next", PageUp: "back" };
const BY = { next: 1, back: -1 };

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
    back: button("back", () => go("back")),
    place: el("span.place", { role: "status" }),
    next: button("next", () => go("next")),
    leave: button("leave", leave),
  };
  tools.root.append(ui.input, ui.full, ui.back, ui.place, ui.next, ui.leave);
  box.replaceChildren(tools.root);
  rove(tools.root, "button");

  function mark(chosen) {
    ui.input.setAttribute("aria-pressed", chosen);
    showInput(chosen);
  }
  function leave() {
    // Once: a second request would bring the link of before the first, and the page would stay as it is.
    if (document.fullscreenElement) document.exitFullscreen();
    else tools.ask("leave");
  }

  /** Go to the next view of the page or back; from the last or first, to another page. */
  function go(what) {
    if (!turn(BY[what]) && tools.data[what]) tools.ask(what);
  }

  /** Say where the presenter is, and where the two buttons lead. */
  function tell() {
    const { words } = tools.data;
    const { at, of } = position();
    const view = of > 1 ? fill(words.slide, { n: at + 1, of }) : "";
    ui.place.textContent = [words.place, view].filter(Boolean).join(" · ");
    for (const [what, by] of Object.entries(BY)) {
      const there = at + by >= 0 && at + by < of;
      ui[what].textContent = words[there ? `${what}_slide` : what];
      ui[what].disabled = !there && !tools.data[what];
    }
  }

  tools.load = (data) => {
    const { words, present } = data;
    tools.data = data;
    tools.root.setAttribute("aria-label", words.label);
    for (const name of ["input", "full", "leave"]) ui[name].textContent = words[name];
    [ui.input.title, ui.full.title] = [words.input_help, words.full_help];
    for (const one of [ui.back, ui.next, ui.leave]) one.title = words.keys;
    ui.input.hidden = present || !data.photo;
    ui.full.hidden = present;
    for (const one of [ui.back, ui.place, ui.next, ui.leave]) one.hidden = !present;
    mark(data.input);
    begin(data.page, present, data.steps);
    tell();
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
    go(what);
  };
  document.addEventListener("fullscreenchange", changed);
  document.addEventListener("keydown", pressed);
  window.addEventListener(TURNED, tell);
  // What is above a figure, and the window, may change its size later.
  const page = document.querySelector('[data-testid="stMain"]');
  const watcher = new ResizeObserver(() => tools.data.present && show());
  const guests = new MutationObserver(() => tools.data.present && refresh());
  if (page) guests.observe(page, { childList: true, subtree: true });
  for (const one of page ? [page, ...page.querySelectorAll(".stMainBlockContainer")] : [])
    watcher.observe(one);
  tools.close = () => {
    watcher.disconnect();
    guests.disconnect();
    window.removeEventListener(TURNED, tell);
    document.removeEventListener("fullscreenchange", changed);
    document.removeEventListener("keydown", pressed);
  };
  tools.load(first);
  return tools;
}
