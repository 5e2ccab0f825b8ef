// Progress is kept in the student's browser; a button fills the screen; a presenter's keys turn the pages.

import { onPage } from "../shared/mount.js";

export default onPage("desk", open, (desk, { setStateValue, setTriggerValue }) => {
  desk.request = (what) => setTriggerValue("asked", what);
  keep(desk, desk.data, (text) => setStateValue("stored", text));
});

/** Scroll to the top of a new step, however far down the last one ended. */
function above() {
  const top = document.querySelector(".st-key-cf-lessons-top");
  if (top && top.getBoundingClientRect().top < 0) top.scrollIntoView({ block: "start" });
}

/** The button that closed the question is gone: put the keyboard's focus on the next one. */
function onward() {
  setTimeout(() => {
    if (document.activeElement && document.activeElement !== document.body) return;
    const next = document.querySelector(".st-key-learn-next button, .st-key-learn-again button");
    next?.focus({ preventScroll: true });
  }, 250);
}

/** Read the store once, then write what the page says. Without a store, nothing is read. */
function keep(desk, { store, save }, report) {
  try {
    if (save !== null) window.localStorage.setItem(store, save);
    else if (!desk.reported) report(window.localStorage.getItem(store) ?? "");
  } catch {
    if (save === null && !desk.reported) report("");
  }
  desk.reported = true;
}

function open(box, first) {
  const button = document.createElement("button");
  button.type = "button";
  box.replaceChildren(button);
  const desk = { root: button };
  desk.load = (data) => {
    if (desk.data && desk.data.at !== data.at) above();
    if (desk.data?.at === data.at && desk.data.open && !data.open) onward();
    desk.data = data;
    button.textContent = data.present ? data.words.leave : data.words.full;
  };
  button.addEventListener("click", () => {
    const page = document.documentElement;
    if (desk.data.present) {
      if (document.fullscreenElement) document.exitFullscreen();
      desk.request("leave");
    } else {
      // Where the browser refuses, the large type without frames remains.
      page.requestFullscreen?.().catch(() => {});
      desk.request("full");
    }
  });
  const changed = () => desk.data.present && !document.fullscreenElement && desk.request("leave");
  const turn = (event) => {
    const what = { PageDown: "next", PageUp: "back" }[event.key];
    if (!what || !desk.data.present) return;
    event.preventDefault();
    desk.request(what);
  };
  document.addEventListener("fullscreenchange", changed);
  document.addEventListener("keydown", turn);
  desk.close = () => {
    document.removeEventListener("fullscreenchange", changed);
    document.removeEventListener("keydown", turn);
  };
  desk.load(first);
  return desk;
}
