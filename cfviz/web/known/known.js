// A folded list of classes, as `cfviz/data/answers.py` writes it: typing narrows down a long one.

/** Let the search fields of the lists inside an element work. */
export function searchable(root) {
  for (const field of root.querySelectorAll(".cf-known input")) {
    const items = [...field.parentElement.querySelectorAll("li")];
    field.addEventListener("input", () => {
      const word = field.value.trim().toLowerCase();
      for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(word);
    });
  }
}
