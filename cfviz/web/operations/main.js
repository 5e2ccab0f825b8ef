// Where the figure of a forward's operations meets Streamlit.

import { onPage } from "../shared/mount.js";
import { OperationsFigure } from "./figure.js";

export default onPage("op-host", (box, data) => new OperationsFigure(box, data));
