// Where the figure of many photos meets Streamlit.

import { onPage } from "../shared/mount.js";
import { SurveyFigure } from "./figure.js";

export default onPage("sv-host", (box, data, commit) => new SurveyFigure(box, data, commit));
