// Where the figure of two models meets Streamlit.

import { onPage } from "../shared/mount.js";
import { CompareFigure } from "./figure.js";

export default onPage("cp-host", (box, data, commit) => new CompareFigure(box, data, commit));
