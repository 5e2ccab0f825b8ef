// Runs before the page is painted: the colours that the reader chose on an earlier page or that the link
// names, whether the figure alone is shown, in a frame of another page (`embed=1`), whether this is the room
// of the self-test (`room=test`), and whether the page was opened as a file, from where browsers load no
// figures.

import { keptTheme } from "./theme.js";

export default function (document) {
  const query = new URLSearchParams(location.search);
  const found = query.get("theme") ?? keptTheme();
  if (["light", "dark"].includes(found)) document.documentElement.dataset.theme = found;
  if (location.protocol === "file:") document.documentElement.dataset.disk = "";
  if (query.get("room") === "test") document.documentElement.dataset.room = "test";
  if (query.get("embed") === "1") document.documentElement.dataset.embed = "";
}
