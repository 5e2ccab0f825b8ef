// Where the figure of a logit's parts meets Streamlit.

import { onPage } from "../shared/mount.js";
import { PartsFigure } from "./figure.js";

export default onPage("lp-host", (box, data, commit) => new PartsFigure(box, data, commit));
