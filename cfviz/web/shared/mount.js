// Where a figure meets Streamlit: it is made once, told of every new message, and closed at the end.

/**
 * The function that Streamlit calls with each message.
 * @param host class of the box that the figure draws into
 * @param make given the box, the first message and the function that tells Python what was chosen: the figure
 * @param run what else happens at every run, given the figure and Streamlit's arguments
 */
export function onPage(host, make, run) {
  const shown = new WeakMap(); // box -> figure
  return ({ parentElement, data, setStateValue }) => {
    const box = parentElement.querySelector(`.${host}`) ?? parentElement;
    const commit = (state) => setStateValue("commit", state);
    let figure = shown.get(box);
    if (figure?.root.isConnected) {
      figure.commit = commit;
      figure.load(data);
      figure.dress();
    } else {
      figure = make(box, data, commit);
      shown.set(box, figure);
    }
    run?.(figure, setStateValue);
    return () => {
      figure.leave?.();
      figure.close();
      shown.delete(box);
    };
  };
}
