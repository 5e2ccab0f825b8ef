// A figure made of HTML elements as one picture: an SVG that holds them with their computed styles, or a PNG.

const MARGIN = 16; // pixels around the figure
const SCALE = 2; // pixels of the PNG per CSS pixel
const HANDED_DOWN = [
  "color",
  "font-family",
  "font-size",
  "font-style",
  "font-weight",
  "letter-spacing",
  "line-height",
  "text-align",
  "text-transform",
  "white-space",
  "visibility",
  "fill",
  "stroke",
  "stroke-width",
  "text-anchor",
];
const LEFT_OUT = new Set(["STYLE", "SCRIPT", "LINK"]);

/** The element in which the figure with this key is drawn: in its component's shadow root, if it has one. */
function figureOf(key) {
  const box = document.querySelector(`.st-key-${key.replace(/[^A-Za-z0-9_-]/g, "-")}`);
  const host = [box, ...(box?.querySelectorAll("*") ?? [])].find((element) => element?.shadowRoot);
  const inside = [...((host?.shadowRoot ?? box)?.children ?? [])];
  return inside.filter(
    (element) => !LEFT_OUT.has(element.tagName) && element.getBoundingClientRect().height > 0,
  );
}

/** The part of an element's style that differs from a bare element of its kind. */
function ownStyle(element, plain) {
  const style = getComputedStyle(element);
  const usual = plain(element);
  let text = "";
  for (const name of style) {
    const value = style.getPropertyValue(name);
    if (HANDED_DOWN.includes(name) || value !== usual.get(name)) text += `${name}:${value};`;
  }
  return text;
}

/** Looks up and keeps the styles of bare elements; also returns what removes the place for doing so. */
function plainStyles() {
  const place = document.createElement("div");
  place.style.cssText = "position:fixed;visibility:hidden;width:0;height:0;overflow:hidden";
  const inside = place.attachShadow({ mode: "open" }); // out of reach of the page's style sheets
  document.body.append(place);
  const known = new Map();
  const plain = (element) => {
    const kind = `${element.namespaceURI} ${element.localName}`;
    if (!known.has(kind)) {
      const one = document.createElementNS(element.namespaceURI, element.localName);
      inside.append(one);
      const style = getComputedStyle(one);
      known.set(kind, new Map([...style].map((name) => [name, style.getPropertyValue(name)])));
      one.remove();
    }
    return known.get(kind);
  };
  return { plain, done: () => place.remove() };
}

const asData = (blob) =>
  new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(blob);
  });
const fetched = (address) =>
  fetch(address)
    .then((answer) => answer.blob())
    .then(asData);

/** A copy that stands without the page: styles written out, canvases and images as data. */
async function copied(element, plain) {
  if (LEFT_OUT.has(element.tagName) || getComputedStyle(element).display === "none") return null;
  let made;
  if (element.tagName === "CANVAS") {
    made = document.createElement("img");
    made.src = element.width && element.height ? element.toDataURL() : "data:,";
  } else {
    made = element.cloneNode(false);
    for (const name of made.getAttributeNames()) if (name.startsWith("on")) made.removeAttribute(name);
  }
  if (element.tagName === "IMG" && !element.src.startsWith("data:")) made.src = await fetched(element.src);
  made.setAttribute("style", `${ownStyle(element, plain)}transition:none;animation:none;`);
  for (const child of element.tagName === "CANVAS" ? [] : element.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) made.append(child.data);
    else if (child.nodeType === Node.ELEMENT_NODE) made.append((await copied(child, plain)) ?? "");
  }
  return made;
}

/** The page's fonts of some families, as data, since a picture may not fetch them. */
async function fonts(families) {
  const rules = [...document.styleSheets]
    .flatMap((sheet) => {
      try {
        return [...sheet.cssRules].map((rule) => ({ rule, base: sheet.href ?? document.baseURI }));
      } catch {
        // a sheet from another origin
        return [];
      }
    })
    .filter(
      ({ rule }) =>
        rule instanceof CSSFontFaceRule &&
        families.has(rule.style.getPropertyValue("font-family").replace(/["']/g, "")),
    );
  const faces = rules.map(async ({ rule, base }) => {
    const address = /url\(["']?([^"')]+)/.exec(rule.cssText)?.[1];
    if (!address) return "";
    const data = await fetched(new URL(address, base)).catch(() => "");
    return data && rule.cssText.replace(/src:[^;]+;/, `src:url(${data});`);
  });
  return (await Promise.all(faces)).join("");
}

/** The elements as they stand, on the page's background, as the text of an SVG. */
async function drawnAsSvg(elements) {
  const edges = elements.map((element) => element.getBoundingClientRect());
  const least = (side) => Math.min(...edges.map((edge) => edge[side])) - MARGIN;
  const most = (side) => Math.max(...edges.map((edge) => edge[side])) + MARGIN;
  const [left, top] = [least("left"), least("top")];
  const [width, height] = [Math.ceil(most("right") - left), Math.ceil(most("bottom") - top)];
  const { plain, done } = plainStyles();
  const body = document.createElement("div");
  const ground = background();
  body.setAttribute("style", `position:relative;width:${width}px;height:${height}px;background:${ground}`);
  const families = new Set();
  for (const [n, element] of elements.entries()) {
    const made = await copied(element, plain);
    made.style.position = "absolute";
    made.style.margin = "0";
    made.style.left = `${edges[n].left - left}px`;
    made.style.top = `${edges[n].top - top}px`;
    made.style.width = `${edges[n].width}px`;
    made.style.boxSizing = "border-box";
    body.append(made);
    for (const one of [element, ...element.querySelectorAll("*")]) {
      families.add(getComputedStyle(one).fontFamily.split(",")[0].replace(/["']/g, "").trim());
    }
  }
  done();
  const faces = document.createElement("style");
  faces.textContent = await fonts(families);
  body.prepend(faces);
  const inside = new XMLSerializer().serializeToString(body);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}">` +
    `<foreignObject width="100%" height="100%">${inside}</foreignObject></svg>`
  );
}

/** The page's background colour. */
export function background() {
  return getComputedStyle(document.querySelector(".stApp") ?? document.body).backgroundColor;
}

/** The figure with this key as a file: a Blob of the format "png" or "svg". */
export async function pictureOf(key, format) {
  const svg = await drawnAsSvg(figureOf(key));
  if (format === "svg") return new Blob([svg], { type: "image/svg+xml" });
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [SCALE * image.width, SCALE * image.height];
  const pen = canvas.getContext("2d");
  pen.scale(SCALE, SCALE);
  pen.drawImage(image, 0, 0);
  return new Promise((finish) => canvas.toBlob(finish, "image/png"));
}
