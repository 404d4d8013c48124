// The next tasks of the queue, and the tasks whose labels look wrong.

import { el, outside } from "./dom.js";
import { arrows, chips, cutter, foldable, marked, size, tag } from "./text.js";
import { number, plural } from "./words.js";

const WORD = 80; // characters of a word that are shown
const rounded = (value) => (value === null || value === undefined ? null : Number(value).toPrecision(3));

/** The queue's tasks in their order, each with its marked text and why it stands there. */
export function queueList({ tasks }, colours) {
  if (!tasks.length) return [el("p", { class: "quiet" }, "Nothing is queued.")];
  const has = (name) => tasks.some((task) => task[name].length > 0);
  const legend = [
    "The order in which Label Studio gives tasks.",
    has("spans") && " Underlined: what the model marks.",
    has("uncertain") && [" ", el("span", { class: "uncertain" }, "Dotted"), ": the words it is least sure of."],
    (has("choices") || has("relations")) && " Below a text: what the model chooses and relates, and how sure it is.",
  ];
  return [
    el("p", { class: "quiet" }, legend),
    el(
      "ol",
      { class: "tasks" },
      tasks.map((task) => queued(task, colours)),
    ),
  ];
}

function queued(task, colours) {
  const cut = cutter(task.text);
  const end = size(task.text);
  const doubted = task.uncertain.filter((word) => word.end <= end);
  const unsure = ({ start, end: stop, confidence }, n) => {
    const word = el("span", { class: "uncertain" }, outside(cut(start, Math.min(stop, start + WORD))));
    return [n ? ", " : "", word, ` (${confidence.toFixed(2)})`];
  };
  const figures = [
    task.words === null ? null : plural(task.words, "word"),
    task.priority === null ? null : `priority ${rounded(task.priority)}`,
  ];
  return el(
    "li",
    { id: `task-${task.id}` },
    el(
      "p",
      { class: "meta" },
      task.position !== null && el("b", {}, task.position + 1),
      heading(task.id, task.link),
      figures.filter(Boolean).map((figure) => el("span", {}, figure)),
      task.holdout && el("span", { class: "chip" }, "hold-out"),
    ),
    foldable(marked(task.text, task.spans, colours.spans, doubted), task.text, `queue-${task.id}`),
    chips(task.choices, colours.choices),
    arrows(task.text, task.relations, colours.relations),
    task.cut && el("p", { class: "quiet" }, "The text goes on; open the task to read it all."),
    el("p", { class: "quiet" }, task.why, doubted.length > 0 && [" Least sure of ", doubted.map(unsure), "."]),
  );
}

function heading(id, link) {
  return link ? el("a", { href: link, target: "_blank", rel: "noopener" }, `Task ${id}`) : el("span", {}, `Task ${id}`);
}

/** Tasks whose given labels the model doubts: both readings, and the words they differ in; or the choice. */
export function suspectList({ items, checked, notes }, colours) {
  if (checked === null || checked === undefined)
    return [el("p", { class: "quiet" }, "Labels are checked after the next training.")];
  const counted = `${plural(checked, "labelled task")} checked, ${number(items.length)} suspected.`;
  const told = [counted, ...(notes ?? [])].join(" ");
  const list = items.map((item) => suspected(item, colours));
  return [el("p", { class: "quiet" }, told), items.length > 0 && el("ul", { class: "tasks" }, list)];
}

function suspected(item, colours) {
  return item.choice ? suspectedChoice(item, colours.choices) : suspectedWords(item, colours.spans);
}

function suspectedChoice({ task, link, text, choice }, colours) {
  const labels = ["The text is given ", tag(choice.given, colours), ", suggested ", tag(choice.suggested, colours)];
  return el(
    "li",
    {},
    el("p", { class: "meta" }, heading(task, link)),
    foldable(marked(text, [], colours), text, `suspect-${task}-choice`),
    el("p", {}, labels, el("span", { class: "quiet" }, ` (confidence ${choice.confidence.toFixed(2)})`)),
  );
}

function suspectedWords(item, colours) {
  const cut = cutter(item.text);
  const reading = (name, spans) =>
    el(
      "div",
      { class: "reading" },
      el("h3", {}, name),
      foldable(marked(item.text, spans, colours), item.text, `suspect-${item.task}-${name}`),
    );
  const named = (label) => (label && label !== "O" ? tag(label, colours) : "no label");
  const words = item.words.map((word) =>
    el(
      "li",
      {},
      el("b", {}, outside(cut(word.start, Math.min(word.end, word.start + WORD)))),
      " is given ",
      named(word.given),
      ", suggested ",
      named(word.suggested),
      word.confidence === null ? null : el("span", { class: "quiet" }, ` (confidence ${word.confidence.toFixed(2)})`),
    ),
  );
  return el(
    "li",
    {},
    el("p", { class: "meta" }, heading(item.task, item.link)),
    el("div", { class: "readings" }, reading("Given", item.given), reading("Suggested", item.suggested)),
    el("ul", { class: "words" }, words),
  );
}
