// The files that a figure gives its reader: a picture, a drawing, a table.

import { el } from "../shared/markup.js";

/** Save a file made in the browser. */
export function save(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // a busy machine may read it late
}

/** Save what a canvas shows. */
export function saveCanvas(name, canvas) {
  canvas.toBlob((blob) => save(`${name}.png`, blob));
}

/** Save what a pen, `SvgPen`, has drawn. */
export function saveDrawing(name, pen) {
  save(`${name}.svg`, new Blob([pen.toString()], { type: "image/svg+xml" }));
}

/** Save rows of cells, the first of them names, as CSV. */
export function saveTable(name, rows, note) {
  save(`${name}.csv`, new Blob([tableText(rows, note)], { type: "text/csv" }));
}

/** Text that a spreadsheet would compute; a number is none. `to_csv` in the app does the same. */
const isFormula = (x) => typeof x === "string" && /^[=+\-@\t\r]/.test(x) && Number.isNaN(Number(x));

/**
 * Rows of cells as CSV (RFC 4180); spreadsheets know its UTF-8 by the mark, and text that they would compute,
 * such as a photo's name, begins with an apostrophe.
 *
 * @param note a comment above the names; undefined: none
 */
export function tableText(rows, note) {
  const quoted = (x) => (/[",\r\n]/.test(x) ? `"${String(x).replaceAll('"', '""')}"` : (x ?? ""));
  const cell = (x) => quoted(isFormula(x) ? `'${x}` : x);
  const lines = rows.map((row) => row.map(cell).join(","));
  const all = [...(note === undefined ? [] : [`# ${note}`]), ...lines, ""];
  return `\ufeff${all.join("\r\n")}`;
}
