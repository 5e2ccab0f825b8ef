// Progress is kept in the student's browser; a new step is scrolled into view.

import { onPage } from "../shared/mount.js";

export default onPage("desk", open, (desk, { setStateValue }) => {
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
  const desk = { root: box };
  desk.load = (data) => {
    if (desk.data && desk.data.at !== data.at) above();
    if (desk.data?.at === data.at && desk.data.open && !data.open) onward();
    desk.data = data;
  };
  desk.load(first);
  return desk;
}
