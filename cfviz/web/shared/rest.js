// A component without a face: hands a figure blocks that its first, short message left for later.

import { decode } from "./payload.js";

export default function ({ data }) {
  const board = (window["cfviz.rest"] ??= {});
  board[decode(data).header.name] = data;
  window.dispatchEvent(new Event("cfviz.rest"));
}
