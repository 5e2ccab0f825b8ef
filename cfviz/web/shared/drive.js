// A component without a face: sends a figure somewhere, or asks it a question, without its data again.

export default function ({ data }) {
  const board = (window["cfviz.go"] ??= {});
  board[data.name] = data;
  window.dispatchEvent(new Event("cfviz.go"));
}
