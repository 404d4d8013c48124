// A task's text with its spans marked. Offsets count code points, as Python does; JavaScript's strings count UTF-16.

import { coloured, el, outside } from "./dom.js";

const LONG = 600;

/** Cuts a text at code points. */
export function cutter(text) {
  if (!/[\ud800-\udfff]/.test(text)) return (start, end) => text.slice(start, end);
  const points = Array.from(text);
  return (start, end) => points.slice(start, end).join("");
}

/** How many code points a text has. */
export const size = (text) => (/[\ud800-\udfff]/.test(text) ? Array.from(text).length : text.length);

/**
 * The text as a paragraph: `spans` underlined in their labels' colours with the label after them, `uncertain` words
 * dotted. A span that is nested in another one is drawn over it; spans past the end of a cut text are left out.
 */
export function marked(text, spans, colours, uncertain = []) {
  const cut = cutter(text);
  const end = size(text);
  const edges = [...spans, ...uncertain]
    .flatMap((span) => [span.start, span.end])
    .filter((edge) => edge > 0 && edge < end);
  const stops = [...new Set([0, ...edges, end])].sort((one, other) => one - other);
  const paragraph = el("p", { class: "text", dir: "auto" });
  for (let n = 0; n + 1 < stops.length; n++) {
    const [from, to] = [stops[n], stops[n + 1]];
    const covering = spans
      .filter((span) => span.start <= from && to <= span.end)
      .sort((a, b) => a.start - b.start || b.end - a.end);
    const doubted = uncertain.some((word) => word.start <= from && to <= word.end);
    let piece = cut(from, to);
    if (doubted) piece = el("span", { class: "uncertain" }, piece);
    if (!covering.length) {
      paragraph.append(piece);
      continue;
    }
    const ends = covering.filter((span) => Math.min(span.end, end) === to);
    const tags = ends.reverse().map((span) => tag(span.label, colours));
    paragraph.append(coloured(el("mark", {}, piece), colours.get(covering.at(-1).label)), ...tags);
  }
  return paragraph;
}

/** A label's name beside its colour. */
export function tag(label, colours) {
  return coloured(el("span", { class: "tag" }, outside(label)), colours.get(label));
}

/** What is chosen for a whole text, as chips. */
export function chips(choices, colours) {
  if (!choices.length) return null;
  const chip = (choice) => el("span", { class: "chip" }, tag(choice.label, colours), sure(choice));
  return el("p", { class: "chips" }, choices.map(chip));
}

/** Relations between the spans of a text, a line each. */
export function arrows(text, relations, colours) {
  if (!relations.length) return null;
  const cut = cutter(text);
  const end = (span) => el("b", {}, outside(cut(span.start, span.end)));
  const line = (found) =>
    el("li", {}, end(found.head), " → ", tag(found.label, colours), " → ", end(found.tail), sure(found));
  return el("ul", { class: "arrows" }, relations.map(line));
}

function sure({ confidence }) {
  return confidence === null ? null : el("span", { class: "quiet" }, ` ${confidence.toFixed(2)}`);
}

/** A long text begins folded, with a button that unfolds it; `id` tells it from others. */
export function foldable(paragraph, text, id) {
  if (text.length <= LONG) return [paragraph];
  paragraph.classList.add("folded");
  paragraph.id = `${id}-text`;
  const button = el(
    "button",
    { type: "button", class: "plain", id: `${id}-fold`, "aria-expanded": "false", "aria-controls": paragraph.id },
    "Show all",
  );
  button.addEventListener("click", () => {
    const folded = paragraph.classList.toggle("folded");
    button.setAttribute("aria-expanded", String(!folded));
    button.textContent = folded ? "Show all" : "Show less";
  });
  return [paragraph, button];
}
