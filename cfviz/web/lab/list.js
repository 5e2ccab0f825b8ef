// The list of interventions: reorder, switch off, change the fill, remove.

import { esc, fill } from "../shared/text.js";
import { deed, FILLS, name, parse } from "./words.js";

export function listMarkup(items, data) {
  const t = data.text;
  if (!items.length) return `<p class="empty">${esc(t.empty)}</p>`;
  const rows = items
    .map(
      (item, i) => `
    <li data-i="${i}" class="${item.on ? "" : "off"}" draggable="true">
      <span class="grip" aria-hidden="true">⠿</span>
      <button class="switch" role="switch" aria-checked="${item.on}" data-act="on"
        aria-label="${esc(fill(t.switch, { name: name(item.place, data) }))}"><i></i></button>
      <span class="what">${esc(name(item.place, data))}</span>${deeds(item, data)}
      <span class="acts"><button data-act="up" ${i ? "" : "disabled"} aria-label="${esc(t.up)}">↑</button>
      <button data-act="down" ${i < items.length - 1 ? "" : "disabled"} aria-label="${esc(t.down)}">↓</button>
      <button data-act="remove" aria-label="${esc(t.remove)}">✕</button></span></li>`,
    )
    .join("");
  const flip = esc(items.some((i) => i.on) ? t.all_off : t.all_on);
  return `<ol>${rows}</ol>
    <div class="all"><button data-act="flip">${flip}</button>
      <button data-act="clear">${esc(t.clear)}</button></div>`;
}

function deeds(item, data) {
  if (!FILLS.includes(item.how) || item.rest !== "")
    return `<span class="deed">${esc(deed(item, data))}</span>`;
  const fills = ["bias", "mask"].includes(parse(item.place).part) ? FILLS.slice(0, 3) : FILLS;
  const options = fills.map(
    (how) =>
      `<option value="${how}" ${how === item.how ? "selected" : ""}>${esc(data.text[`how_${how}`])}</option>`,
  );
  return `<select aria-label="${esc(data.text.fill)}">${options.join("")}</select>`;
}

/** Make the list work: `get()` gives its items, `change(items)` takes new ones. */
export function listen(host, get, change) {
  const row = (element) => +element.closest("li").dataset.i;
  const move = (from, to) => {
    const items = [...get()];
    items.splice(to, 0, ...items.splice(from, 1));
    change(items);
  };
  host.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (!button) return;
    const act = button.dataset.act;
    const items = get();
    if (act === "clear") return change([]);
    if (act === "flip") return change(items.map((item) => ({ ...item, on: !items.some((one) => one.on) })));
    const i = row(button);
    if (act === "on")
      change(
        items.map((item, n) => (n === i ? { ...item, on: !item.on } : item)),
        act,
        i,
      );
    if (act === "remove") change(items.filter((_, n) => n !== i));
    if (act === "up") {
      move(i, i - 1);
      focus(host, act, i - 1);
    }
    if (act === "down") {
      move(i, i + 1);
      focus(host, act, i + 1);
    }
    if (act === "on") focus(host, act, i);
  });
  host.addEventListener("change", (event) => {
    if (event.target.tagName !== "SELECT") return;
    const i = row(event.target);
    change(get().map((item, n) => (n === i ? { ...item, how: event.target.value } : item)));
  });
  let from = -1;
  host.addEventListener("dragstart", (event) => {
    from = row(event.target);
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", String(from));
  });
  host.addEventListener("dragover", (event) => {
    if (from >= 0 && event.target.closest("li")) event.preventDefault();
  });
  host.addEventListener("drop", (event) => {
    const over = event.target.closest("li");
    if (from < 0 || !over) return;
    event.preventDefault();
    move(from, +over.dataset.i);
    from = -1;
  });
  host.addEventListener("dragend", () => {
    from = -1;
  });
}

function focus(host, act, i) {
  const row = host.querySelector(`li[data-i="${i}"]`);
  (row?.querySelector(`[data-act="${act}"]:not([disabled])`) ?? row?.querySelector("button"))?.focus();
}
