// Where the figure of similar places meets Streamlit.

import { onPage } from "../shared/mount.js";
import { SimilarFigure } from "./figure.js";

export default onPage("sm-host", (box, data, commit) => new SimilarFigure(box, data, commit));
