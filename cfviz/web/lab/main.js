// Where the board meets Streamlit.

import { LabBoard } from "./board.js";

export default function ({ data, parentElement: root, setStateValue }) {
  const board = root.lab ?? (root.lab = new LabBoard(root.querySelector(".lab-host")));
  board.show(data, (value) => setStateValue("commit", value));
}
