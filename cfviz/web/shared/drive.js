// A component without a face: sends a figure somewhere, or asks it a question, without its data again.

import { send } from "./markup.js";

export default function ({ data }) {
  send(data);
}
