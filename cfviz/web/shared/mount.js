// Where a figure meets Streamlit: made once, told of each new message, closed at the end.

import { enter, leave } from "../deck/deck.js";

const WIDGETS = ["crop-host", "desk", "picker-host", "view"]; // beside the figures

/** Mark the place of a figure on the page: a presenter shows the figure only. */
function whole(box) {
  const outside = box.getRootNode().host ?? box;
  const place = outside.closest('[data-testid="stElementContainer"]');
  place?.setAttribute("data-cf-figure", "");
  return place;
}

/**
 * The function that Streamlit calls at each run of a figure's component.
 *
 * A figure has `root`, the element it draws, and `load(data)`, which takes a new message. It may have
 * `applyTheme()`, which takes the colours of the theme around it, `close()`, which stops its clocks and
 * observers, `leave()`, which ends what `make` let listen for it on the page,
 * and `present(number)`, which is told the view that a presenter sees, 0 for none.
 *
 * In a file and in a notebook nobody answers: `setStateValue` is missing, and so is the third argument of
 * `make`. A figure that asks for a click which Python answers asks only where the function is there.
 *
 * @param host class of the box that the figure draws into
 * @param make the figure of a box, its first message, and the function that tells Python what was chosen
 * @param run called after every run with the figure and Streamlit's arguments
 */
export function onPage(host, make, run) {
  const shown = new WeakMap(); // box -> figure
  return (streamlit) => {
    const { parentElement, data, setStateValue } = streamlit;
    const box = parentElement.querySelector(`.${host}`) ?? parentElement;
    const place = WIDGETS.includes(host) ? null : whole(box);
    const commit = setStateValue && ((state) => setStateValue("commit", state));
    let figure = shown.get(box);
    if (figure?.root.isConnected) {
      if (commit) figure.commit = commit;
      figure.load(data);
      figure.applyTheme?.();
    } else {
      figure = make(box, data, commit);
      shown.set(box, figure);
    }
    run?.(figure, streamlit);
    if (place) enter(place, figure);
    return () => {
      if (place) leave(place, figure);
      figure.leave?.();
      figure.close?.();
      shown.delete(box);
    };
  };
}
