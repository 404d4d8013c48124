// A project's state: a word, a sentence, and a bar while a round runs.

import { el } from "./dom.js";
import { activity, timeLeft } from "./words.js";

/** The parts that show a state; the second gives them another summary. */
export function stateView() {
  const word = el("span", { class: "state" });
  const sentence = el("span");
  const left = el("span", { class: "quiet" });
  const bar = el("progress", { max: 1, "aria-label": "Progress of the round" });
  const view = el("div", { class: "status" }, el("p", {}, word, sentence, left), bar);
  return [view, show];

  function show(summary) {
    word.textContent = summary.state;
    word.dataset.state = summary.state;
    sentence.textContent = activity(summary);
    left.textContent = timeLeft(summary.progress);
    bar.hidden = !summary.progress;
    if (summary.progress?.share == null) bar.removeAttribute("value");
    else bar.value = summary.progress.share;
  }
}

/** What stands in the way, in plain words. */
export function notices(summary) {
  return [
    summary.error && el("p", { class: "notice wrong", dir: "auto" }, summary.error),
    summary.notice && el("p", { class: "notice", dir: "auto" }, summary.notice),
  ];
}
