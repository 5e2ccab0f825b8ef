// Where the board meets Streamlit.

import { onPage } from "../shared/mount.js";
import { LabBoard } from "./board.js";

export default onPage("lab-host", (box, data, commit) => new LabBoard(box, data, commit));
