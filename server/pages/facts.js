// The figures of a project that stand beside its state.

import { el, outside } from "./dom.js";
import { f1Of, interval, nextRound, NONE, number, points } from "./words.js";

/** A list of terms with their values; `long` with version, model and order. */
export function facts(summary, long = false) {
  const scores = summary.evaluation;
  const f1 = scores
    ? [el("strong", {}, points(scores.f1)), " ", el("span", { class: "quiet" }, interval(scores.low, scores.high))]
    : NONE;
  const pairs = [
    [scores && scores.kind !== "spans" ? f1Of(scores) : "F1", f1],
    [
      "Labelled",
      [el("strong", {}, number(summary.labelled)), el("span", { class: "quiet" }, ` of ${number(summary.tasks)}`)],
    ],
    ["In the queue", number(summary.queue_left)],
    ["Next round", nextRound(summary)],
  ];
  if (long) {
    const models = Object.values(summary.models);
    const another = summary.ranked_by && ![...models, "several"].includes(summary.ranked_by);
    const ranked = another ? `, ranked by ${summary.ranked_by}` : "";
    const ordered = summary.ordered_by && summary.ordered_by !== summary.strategy;
    pairs.push([models.length > 1 ? "Models" : "Model", [outside(models.join(", ")), ranked]]);
    pairs.push(["Order", ordered ? `${summary.ordered_by}, later ${summary.strategy}` : outside(summary.strategy)]);
    pairs.push(["Version", summary.version ? outside(summary.version) : NONE]);
    pairs.push(["Measured", scores?.method ?? NONE]);
  }
  return el(
    "dl",
    { class: "facts" },
    pairs.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
  );
}
