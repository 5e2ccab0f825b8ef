// Runs before the page is painted: the colours that the reader chose on an earlier page or that the link
// names, and whether the figure alone is shown, in a frame of another page (`embed=1`).

const KEPT = "cfviz.theme"; // in local storage: "light" or "dark"

export default function (document) {
  const query = new URLSearchParams(location.search);
  const found = query.get("theme") ?? kept();
  if (["light", "dark"].includes(found)) document.documentElement.dataset.theme = found;
  if (query.get("embed") === "1") document.documentElement.dataset.embed = "";
}

/** The choice, or null: a browser may withhold the storage. */
function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}
