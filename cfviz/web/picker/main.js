// Photos to choose from: one button each, arrow keys move between them, a click sends the id.

export default function (component) {
  const { data, parentElement: root, setTriggerValue } = component;
  const mount = root.querySelector(".mount");
  for (const [name, value] of Object.entries(data.css)) mount.style.setProperty(`--${name}`, value);
  if (mount.dataset.ids !== data.photos.map((photo) => photo.id + photo.title).join()) {
    mount.dataset.ids = data.photos.map((photo) => photo.id + photo.title).join();
    mount.setAttribute("role", "radiogroup");
    mount.setAttribute("aria-label", data.label);
    mount.replaceChildren(
      ...data.photos.map((photo) => {
        const button = document.createElement("button");
        button.dataset.id = photo.id;
        button.setAttribute("role", "radio");
        button.setAttribute("aria-label", photo.title);
        button.title = photo.title;
        const image = document.createElement("img");
        image.src = photo.src;
        image.alt = "";
        button.append(image);
        return button;
      }),
    );
  }
  const buttons = [...mount.children];
  const mark = (id) => {
    for (const button of buttons) {
      const on = button.dataset.id === id;
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
  };
  const pick = (button) => {
    mark(button.dataset.id);
    setTriggerValue("pick", button.dataset.id);
  };
  mark(data.chosen);
  if (!buttons.some((button) => button.tabIndex === 0) && buttons[0]) buttons[0].tabIndex = 0;
  mount.onclick = (event) => {
    const button = event.target.closest("button");
    if (button) pick(button);
  };
  mount.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const now = buttons.indexOf(event.target.closest("button"));
    if (!step || now < 0) return;
    event.preventDefault();
    const next = buttons[(now + step + buttons.length) % buttons.length];
    next.focus();
    pick(next);
  };
}
