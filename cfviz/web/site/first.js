// Runs before the page is painted: the colours that the reader chose on an earlier page or that the link
// names, and whether the figure alone is shown, in a frame of another page (`embed=1`).

import { keptTheme } from "./theme.js";

export default function (document) {
  const query = new URLSearchParams(location.search);
  const found = query.get("theme") ?? keptTheme();
  if (["light", "dark"].includes(found)) document.documentElement.dataset.theme = found;
  if (query.get("embed") === "1") document.documentElement.dataset.embed = "";
}
