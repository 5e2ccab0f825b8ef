// A component without a face: hands a figure blocks that its first, short message left for later. What has
// yet to be computed it asks for.

import { decode } from "./payload.js";

export default function ({ data, setTriggerValue }) {
  if (data.ask) return void setTriggerValue("asked", data.ask);
  const board = (window["cfviz.rest"] ??= {});
  board[decode(data).header.name] = data;
  window.dispatchEvent(new Event("cfviz.rest"));
}
