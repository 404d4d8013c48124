// Elements made from data. Strings only ever become text: nothing that was sent here is read as markup.

/** An element with attributes and children; strings and numbers become text, null and false are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "href" && !harmless(value)) continue;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

function harmless(address) {
  return URL.canParse(address, document.baseURI) && /^https?:$/.test(new URL(address, document.baseURI).protocol);
}

/** Put other children into a container; what has the focus or is open inside it stays so, told by its id. */
export function fill(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.id : "";
  const open = new Set([...container.querySelectorAll("details[open][id]")].map((details) => details.id));
  container.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  for (const details of container.querySelectorAll("details[id]")) if (open.has(details.id)) details.open = true;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** Change a text only if it is another one, so that a screen reader hears changes only. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Something from outside, in whatever direction its script runs. */
export const outside = (text) => el("bdi", {}, text ?? "");

/** Give an element a label's colour, for the style sheet. What is no colour is passed over. */
export function coloured(element, colour) {
  if (colour && CSS.supports("color", colour)) element.style.setProperty("--label", colour);
  return element;
}

/** A table: `columns` are [heading, class?], `rows` lists of cells of which the first is the row's heading. */
export function table(caption, columns, rows) {
  const heads = columns.map(([heading, kind]) => el("th", { scope: "col", class: kind }, heading));
  const body = rows.map((cells) =>
    el(
      "tr",
      {},
      cells.map((cell, n) => el(n ? "td" : "th", { scope: n ? null : "row", class: columns[n][1] }, cell)),
    ),
  );
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, heads)),
      el("tbody", {}, body),
    ),
  );
}
