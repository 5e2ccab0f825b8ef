// The report's buttons that copy the code beside them, and its list of classes.

import { searchable } from "../known/known.js";
import { copy } from "../shared/copy.js";

export default function (page) {
  searchable(page);
  for (const button of page.querySelectorAll("[data-copy]")) {
    const text = button.closest(".rp-code").querySelector("pre").textContent;
    button.addEventListener("click", async () => {
      await copy(text);
      button.textContent = button.dataset.copied;
    });
  }
}
