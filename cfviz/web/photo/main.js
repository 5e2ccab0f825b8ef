// A component without a face: gives the original photo to the figures of the page.

import { decode } from "../shared/payload.js";
import { putOriginal } from "../shared/photo.js";

export default function ({ data }) {
  const { header, array } = decode(data);
  putOriginal(header.of, array(header.file));
}
