// For pages that show one of the site's figures in a frame: gives each frame the height of its figure.
// A page that includes this file needs nothing else; a frame of another origin changes nothing.

const OWN = document.currentScript && new URL(document.currentScript.src).origin;

export default function (window) {
  window.addEventListener("message", ({ data, origin, source }) => {
    if (origin !== OWN || !Number.isFinite(data?.cfvizHeight)) return;
    const frames = [...window.document.querySelectorAll("iframe")];
    const frame = frames.find((one) => one.contentWindow === source);
    if (frame) frame.style.height = `${Math.max(100, Math.min(8000, Math.ceil(data.cfvizHeight)))}px`;
  });
}
