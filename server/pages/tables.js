// Labels, the last batch, versions, rounds and simulations as tables.

import { coloured, el, outside, table } from "./dom.js";
import { tag } from "./text.js";
import { activity, bytes, duration, f1Of, interval, moment, number, points } from "./words.js";

const nothing = (text) => [el("p", { class: "quiet" }, text)];
const date = (iso) => el("time", { datetime: iso }, moment(iso));
const right = "number";

export function labelTable({ label_scores: scores }, colours) {
  if (!scores.length) return nothing("Scores come with the first trained model.");
  const columns = [
    ["Label"],
    ["Precision", right],
    ["Recall", right],
    ["F1", right],
    ["Given", right],
    ["Found", right],
    ["Labelled", right],
  ];
  return kindsOf(scores).flatMap(({ kind, rows }) => [
    table(
      `Precision, recall and F1 per label of ${kind}`,
      columns,
      rows.map((row) => [
        tag(row.label, colours[kind]),
        ...[row.precision, row.recall].map(points),
        el("strong", {}, points(row.f1)),
        ...[row.gold, row.predicted, row.labelled].map(number),
      ]),
    ),
    el(
      "p",
      { class: "quiet" },
      `Given and found: ${kind} in the tasks that F1 is measured on, by people and by the model. Labelled: ${kind} in all labelled tasks.`,
    ),
  ]);
}

/** Rows by what they are of: spans, choices, relations. */
function kindsOf(rows) {
  const kinds = [...new Set(rows.map((row) => row.kind ?? "spans"))];
  return kinds.map((kind) => ({ kind, rows: rows.filter((row) => (row.kind ?? "spans") === kind) }));
}

/** F1 of everything that a project marks, where that is of several kinds. */
export function kindTable({ evaluation, evaluated_also: also }) {
  if (!evaluation || !also.length) return null;
  const rows = [evaluation, ...also].map((one) => [
    f1Of(one),
    el("strong", {}, points(one.f1)),
    interval(one.low, one.high),
    one.method,
  ]);
  const columns = [["What"], ["F1", right], ["95% interval", right], ["Measured"]];
  return table("F1 of each kind, of the version in use", columns, rows);
}

/** What the last batch looked like beside the pool it was chosen from. */
export function batchView({ batch }, colours) {
  if (!batch) return nothing("There is no batch yet.");
  const lengths = `Round ${batch.round}: ${number(batch.tasks)} tasks, ${number(batch.words)} words; ${one(batch.mean_words)} words a task, ${one(batch.pool_mean_words)} in the pool.`;
  const most = Math.max(...batch.labels.flatMap((row) => [row.share ?? 0, row.pool_share ?? 0]), 0.001);
  const mix = ({ kind, rows }) =>
    table(
      `Label mix of the last batch and of the pool: ${kind}`,
      [["Label"], [kind[0].toUpperCase() + kind.slice(1), right], ["In the batch"], ["In the pool"]],
      rows.map((row) => [
        tag(row.label, colours[kind]),
        number(row.count),
        measure(row.share, most, colours[kind].get(row.label)),
        measure(row.pool_share, most, null),
      ]),
    );
  return [
    el("p", {}, lengths),
    batch.text && el("p", {}, batch.text),
    kindsOf(batch.labels).map(mix),
  ];
}

const one = (value) => (value === null || value === undefined ? "–" : value.toFixed(1));

function measure(share, most, colour) {
  if (share === null || share === undefined) return "–";
  const bar = coloured(el("span", { class: "bar", "aria-hidden": "true" }), colour);
  bar.style.setProperty("--share", share / most);
  return el("span", { class: "measure" }, bar, el("span", {}, `${points(share)} %`));
}

/** Versions with their settings; `onRollback(version)` where one can be gone back to. */
export function versionTable({ key, versions }, onRollback) {
  if (!versions.length) return nothing("The first training makes the first version.");
  const columns = [
    ["Version"],
    ["Trained"],
    ["F1", right],
    ["Words", right],
    ["Model"],
    ["Size", right],
    ["Settings"],
    ["Actions"],
  ];
  const rows = versions.map((row) => [
    [outside(row.version), row.current && [" ", el("span", { class: "chip" }, "in use")]],
    date(row.created_at),
    points(row.f1),
    number(row.words),
    `${row.tagger}, ${row.strategy}`,
    row.stored ? bytes(row.bytes) : "removed",
    settingsOf(row),
    versionActions(key, row, onRollback),
  ]);
  return [table("Versions, the latest first", columns, rows)];
}

function settingsOf({ version, settings }) {
  const pairs = Object.entries(settings).map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, JSON.stringify(value))),
  );
  return el(
    "details",
    { id: `settings-${version}` },
    el("summary", {}, "Show", el("span", { class: "hidden" }, ` the settings of ${version}`)),
    el("dl", { class: "settings" }, pairs),
  );
}

function versionActions(key, row, onRollback) {
  if (!row.stored) return "";
  const address = `api/projects/${encodeURIComponent(key)}/versions/${encodeURIComponent(row.version)}/download`;
  const of = el("span", { class: "hidden" }, ` ${row.version}`);
  const back = el(
    "button",
    { type: "button", id: `rollback-${row.version}`, onclick: () => onRollback(row.version) },
    "Roll back",
    el("span", { class: "hidden" }, ` to ${row.version}`),
  );
  return el(
    "span",
    { class: "row" },
    el("a", { href: address, download: true, id: `download-${row.version}` }, "Download", of),
    !row.current && back,
  );
}

export function roundTable({ rounds, state }) {
  if (!rounds.length) return nothing("No round has run yet.");
  const columns = [
    ["Round", right],
    ["What"],
    ["State"],
    ["F1", right],
    ["95% interval", right],
    ["Took", right],
    ["Begun"],
    ["Remarks"],
  ];
  const rows = rounds.map((row) => {
    const scores = row.metrics?.evaluation;
    const remarks = [
      row.error && el("p", { class: "wrong", dir: "auto" }, row.error),
      row.problems.map((problem) => el("p", { dir: "auto" }, said(problem))),
    ];
    const running =
      row.state === "running" && row.progress?.step
        ? `: ${activity({ state: "training", progress: { ...row.progress, round: row.number } }).replace(/^Round \d+: /, "")}`
        : "";
    return [
      row.number,
      [row.kind, ": ", outside(row.reason)],
      row.state + running,
      points(scores?.f1),
      interval(scores?.low, scores?.high),
      duration(row.seconds),
      date(row.started_at),
      remarks,
    ];
  });
  return [table("Rounds, the latest first", columns, rows)];
}

const said = (problem) => (typeof problem === "string" ? problem : (problem.text ?? JSON.stringify(problem)));

export function simulationList(key, simulations) {
  return [
    el(
      "ul",
      { class: "plain-list" },
      simulations.map((row) => {
        const going =
          row.state === "running" && row.progress?.of ? `: ${row.progress.done} of ${row.progress.of} rounds` : "";
        const report = `api/projects/${encodeURIComponent(key)}/simulations/${row.id}/report`;
        return el(
          "li",
          {},
          el(
            "p",
            {},
            el("b", {}, `Simulation ${row.id}`),
            ` ${row.state}${going}. ${row.strategies.join(", ")} with ${row.tagger}. `,
            row.result && el("a", { href: report, id: `report-${row.id}` }, `Report of simulation ${row.id}`),
          ),
          row.result?.advice && el("p", {}, row.result.advice),
          row.error && el("p", { class: "wrong", dir: "auto" }, row.error),
        );
      }),
    ),
  ];
}
