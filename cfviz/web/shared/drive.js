// A second, tiny component: sends a figure somewhere, or asks it something, without sending its data again.

export default function ({ data }) {
  const board = (window["cfviz.go"] ??= {});
  board[data.name] = data;
  window.dispatchEvent(new Event("cfviz.go"));
}
