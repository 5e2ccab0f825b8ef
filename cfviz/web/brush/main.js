// Where the brush meets Streamlit.

import { onPage } from "../shared/mount.js";
import { BrushFigure } from "./figure.js";

export default onPage("br-host", (box, data, commit) => new BrushFigure(box, data, commit));
