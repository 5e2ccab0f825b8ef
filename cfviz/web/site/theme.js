// The colours that the reader chose, "light" or "dark", in local storage, which a browser may withhold.

const NAME = "cfviz.theme";

/** The choice, or null. */
export function keptTheme() {
  try {
    return localStorage.getItem(NAME);
  } catch {
    return null;
  }
}

export function keepTheme(theme) {
  try {
    localStorage.setItem(NAME, theme);
  } catch {
    // the choice then lasts as long as the page
  }
}
