// Where the figure of what each block knows meets Streamlit.

import { onPage } from "../shared/mount.js";
import { ReadingFigure } from "./figure.js";

export default onPage("rd-host", (box, data) => new ReadingFigure(box, data));
