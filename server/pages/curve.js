// The learning curve: F1 against words labelled, with intervals and the fitted continuation, and F1 of each kind.

import { el, outside, say, table } from "./dom.js";
import { kindTable } from "./tables.js";
import { f1Of, interval, number, points } from "./words.js";

const HEIGHT = 300;
let chart = null;

/** Draw the curve and all it says into `container`. */
export function showCurve(container, { curve, advice, ...project }) {
  chart?.destroy();
  chart = null;
  const told = [advice?.text, curve.fit?.text, curve.saving?.text].filter(Boolean);
  const sentences = told.map((text, n) => el("p", { class: n || !advice ? "quiet" : "advice" }, text));
  if (!curve.points.length) {
    container.replaceChildren(
      ...sentences,
      el("p", { class: "quiet" }, "The curve begins with the first trained model."),
    );
    return;
  }
  const last = curve.points.at(-1);
  const summary = `${f1Of(last)} against words labelled, after ${curve.points.length} trained models: ${points(last.f1)} at ${number(last.words)} words.`;
  const figure = el("div", {
    class: "chart",
    role: "img",
    "aria-label": `${summary} The table below has all figures.`,
  });
  const reading = el("p", { class: "reading quiet", "aria-hidden": "true" });
  const head = [
    ["Round", "number"],
    ["Version"],
    ["Words", "number"],
    ["F1", "number"],
    ["95% interval", "number"],
    ["Method"],
  ];
  const rows = curve.points.map((point) => [
    point.round,
    outside(point.version),
    number(point.words),
    points(point.f1),
    interval(point.low, point.high),
    point.method,
  ]);
  const expected = ahead(curve);
  const more = expected.map((point) => [
    "expected",
    "",
    number(point.words),
    points(point.f1),
    interval(point.low, point.high),
    "fitted curve",
  ]);
  const details = el(
    "details",
    { id: "curve-table", open: container.querySelector("#curve-table")?.open },
    el("summary", {}, "The curve as a table"),
    table(`${f1Of(last)} after each trained model`, head, [...rows, ...more]),
  );
  const earlier = new Set(curve.points.map((point) => point.method).filter((method) => method !== last.method));
  const key = earlier.size
    ? `Hollow: measured by ${[...earlier].join(", ")}; filled: by ${last.method}. The two do not compare: cross-validation tests on texts that the strategy chose, which are the hard ones.`
    : null;
  const kinds = kindTable(project);
  const legend = key ? el("p", { class: "quiet" }, key) : "";
  container.replaceChildren(...sentences, figure, reading, legend, details, kinds ?? "");
  draw(figure, reading, curve);
}

/** The fitted curve from the newest round on: what lies before it is told by the rounds themselves. */
function ahead({ points: known, fit }) {
  return fit?.line.filter((point) => point.words >= known.at(-1).words) ?? [];
}

function draw(figure, reading, curve) {
  // Rounds that learn from the same words share a place: the newest stands for them.
  const byWords = new Map(curve.points.map((point) => [point.words, point]));
  const line = new Map(ahead(curve).map((point) => [point.words, point]));
  const xs = [...new Set([...byWords.keys(), ...line.keys()])].sort((a, b) => a - b);
  const column = (known, name) => xs.map((words) => (known.has(words) ? 100 * known.get(words)[name] : null));
  // Figures of different methods do not compare, so they are two lines.
  const method = curve.points.at(-1).method;
  const [others, same] = [false, true].map(
    (wanted) => new Map([...byWords].filter(([, point]) => (point.method === method) === wanted)),
  );
  const data = [
    xs,
    ...["low", "high", "f1"].map((name) => column(line, name)),
    ...[others, same].flatMap((known) => ["low", "high", "f1"].map((name) => column(known, name))),
  ];
  const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const measured = (fill) => ({
    stroke: colour("--accent"),
    width: 2,
    spanGaps: true,
    points: { show: true, size: 8, fill: colour(fill), stroke: colour(fill === "--page" ? "--accent" : "--page") },
  });
  const edge = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
  const axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui, sans-serif",
  };
  const tell = (plot) => {
    const point = nearest(plot, byWords);
    say(
      reading,
      `Round ${point.round} · ${point.version} · ${number(point.words)} words · F1 ${points(point.f1)} (${interval(point.low, point.high)})`,
    );
  };
  const options = {
    width: figure.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: { x: { time: false, range: (_, low, high) => [Math.min(0, low), high * 1.03] }, y: { range: bounds } },
    axes: [
      {
        ...axis,
        label: "words labelled",
        labelFont: axis.font,
        labelSize: 20,
        size: 32,
        values: (_, ticks) => ticks.map(number),
      },
      {
        ...axis,
        label: f1Of(curve.points.at(-1)),
        labelFont: axis.font,
        labelSize: 20,
        size: 32,
        values: (_, ticks) => ticks.map((tick) => String(tick)),
      },
    ],
    series: [
      {},
      edge,
      edge,
      { stroke: colour("--quiet"), width: 1.5, dash: [5, 5], spanGaps: true, points: { show: false } },
      edge,
      edge,
      measured("--page"),
      edge,
      edge,
      measured("--accent"),
    ],
    bands: [
      { series: [2, 1], fill: colour("--band-fit") },
      { series: [5, 4], fill: colour("--band") },
      { series: [8, 7], fill: colour("--band") },
    ],
    hooks: { ready: [tell], setCursor: [tell] },
  };
  chart = new window.uPlot(options, data, figure);
  const widths = new ResizeObserver(([entry]) => {
    if (!figure.isConnected) return widths.disconnect();
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== chart.width) chart.setSize({ width, height: HEIGHT });
  });
  widths.observe(figure);
}

/** From 0 where the curve begins low, to 100 at most. */
function bounds(_, low, high) {
  const room = Math.max(2, (high - low) * 0.08);
  return [Math.max(0, low - room), Math.min(100, high + room)];
}

/** The round under the cursor; the newest without one. */
function nearest(plot, byWords) {
  const known = [...byWords.keys()];
  if (!(plot.cursor.left >= 0)) return byWords.get(known.at(-1));
  const at = plot.posToVal(plot.cursor.left, "x");
  return byWords.get(known.reduce((best, words) => (Math.abs(words - at) < Math.abs(best - at) ? words : best)));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart?.redraw(false, true));
