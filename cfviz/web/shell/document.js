// Beside every page: tells screen readers its language, and Python when the system turns dark or light.
// Streamlit alone runs nothing then, and figures drawn in Python would keep the colours of the other theme.

const LINKS = '.st-key-cf-nav a, [data-testid="stPopoverBody"] [data-testid="stPageLink"] a';
const NARROW = 768; // pixels, up to which Streamlit lays the sidebar over the page

/** Close the menu that covers the page once a link in it was followed. */
function followed({ target }) {
  if (window.innerWidth > NARROW || !target.closest?.(LINKS)) return;
  document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
}

export default ({ data, setTriggerValue }) => {
  const html = document.documentElement;
  [html.lang, html.dataset.theme] = [data.lang, data.theme];
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const report = () => setTriggerValue("scheme", scheme.matches ? "dark" : "light");
  const changed = () => setTimeout(report, 100); // once Streamlit has changed its own colours
  scheme.addEventListener("change", changed);
  document.addEventListener("click", followed);
  return () => {
    scheme.removeEventListener("change", changed);
    document.removeEventListener("click", followed);
  };
};
