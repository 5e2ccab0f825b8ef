// Where the figure of how large the numbers grow meets Streamlit.

import { onPage } from "../shared/mount.js";
import { AmplitudeFigure } from "./figure.js";

export default onPage("am-host", (box, data) => new AmplitudeFigure(box, data));
