// One project: asked for once, then kept as it is by the stream of changes.

import { act, actions } from "./actions.js";
import { follow, get, post } from "./api.js";
import { checks } from "./checks.js";
import { showCurve } from "./curve.js";
import { fill, outside, say } from "./dom.js";
import { facts } from "./facts.js";
import { queueList, suspectList } from "./queue.js";
import { notices, stateView } from "./state.js";
import { batchView, labelTable, roundTable, simulationList, versionTable } from "./tables.js";
import { title } from "./words.js";

const at = (id) => document.getElementById(id);
const part = (id) => at(id).querySelector("[data-part]");
let key = new URLSearchParams(location.search).get("key") ?? ""; // a bare number will do: the answer says which it is
const base = `api/projects/${encodeURIComponent(key)}`;
const QUEUE = 50;
const SIMULATIONS_MS = 3000;

const [status, showState] = stateView();
at("status").append(status);
const showActions = actions(base, at, () => (loadProject(), loadSimulations()));
const check = checks(base, at, part("checks"));
let labels = [];
let colours = painted(labels);
let state = null;
let seen = {};
const drawn = new Map();

/** What of a summary makes other data out of date: each name asks for its own. */
function changes({ progress, ...rest }) {
  const { version, tasks, labelled, queue_left: left, state: now } = rest;
  return {
    project: JSON.stringify([rest, progress?.round]),
    queue: JSON.stringify([version, left, tasks]),
    suspects: JSON.stringify([version, labelled, now]),
  };
}

function showSummary(summary) {
  fill(at("title"), outside(title(summary)));
  document.title = `${title(summary)} – Active Tagger`;
  showState(summary);
  fill(at("notices"), notices(summary));
  redraw("figures", summary, () => fill(at("figures"), facts(summary, true)));
  if (state !== null && state !== summary.state) say(at("changes"), `The project is now: ${summary.state}`);
  state = summary.state;
}

/** Draw a part only if its data is another one: what somebody reads or has opened stays as it is. */
function redraw(name, data, draw) {
  const text = JSON.stringify(data);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  draw();
}

function showProject(project) {
  showSummary(project);
  showActions(project);
  if (JSON.stringify(project.labels) !== JSON.stringify(labels)) {
    drawn.clear();
    seen = {};
    labels = project.labels;
    colours = painted(labels);
  }
  at("content").hidden = false; // before the chart, which asks for its width
  const { curve, advice, evaluation, evaluated_also } = project;
  redraw("curve", [curve, advice, evaluation, evaluated_also], () => showCurve(part("curve"), project));
  redraw("labels", project.label_scores, () => fill(part("labels"), labelTable(project, colours)));
  redraw("batch", project.batch, () => fill(part("batch"), batchView(project, colours)));
  redraw("versions", project.versions, () => fill(part("versions"), versionTable(project, rollBack)));
  redraw("rounds", project.rounds, () => fill(part("rounds"), roundTable(project)));
}

/** The colours of labels, by kind. */
function painted(labels) {
  const of = (kind) =>
    new Map(labels.filter((label) => label.kind === kind).map((label) => [label.value, label.colour]));
  return { spans: of("spans"), choices: of("choices"), relations: of("relations") };
}

function rollBack(version) {
  const button = at(`rollback-${version}`);
  act(button, at("versions-answer"), () => post(`${base}/rollback`, { version })).then(
    (taken) => taken && loadProject(),
  );
}

/** A loader that never runs twice at once, and once more if it was wanted meanwhile. */
function loader(load) {
  let running = null;
  let again = false;
  return function start() {
    if (running) {
      again = true;
      return running;
    }
    running = load()
      .catch(() => {})
      .finally(() => {
        running = null;
        if (again) {
          again = false;
          start();
        }
      });
    return running;
  };
}

const loadProject = loader(async () => showProject(await get(base)));
const loadQueue = loader(async () => {
  const queue = await get(`${base}/queue?limit=${QUEUE}`);
  redraw("queue", queue, () => fill(part("queue"), queueList(queue, colours)));
});
const loadSuspects = loader(async () => {
  const suspects = await get(`${base}/suspects`);
  redraw("suspects", suspects, () => fill(part("suspects"), suspectList(suspects, colours)));
});
const loadSimulations = loader(async () => {
  const { simulations } = await get(`${base}/simulations`);
  redraw("simulations", simulations, () => fill(part("simulations"), simulationList(key, simulations)));
  if (simulations.some((one) => one.state === "waiting" || one.state === "running"))
    setTimeout(loadSimulations, SIMULATIONS_MS);
});

function onSummary(summary) {
  if (summary.key !== key) return;
  showSummary(summary);
  const now = changes(summary);
  if (now.project !== seen.project) loadProject();
  if (now.queue !== seen.queue) loadQueue();
  if (now.suspects !== seen.suspects) loadSuspects();
  seen = now;
}

/** What changed while nobody told us is asked for again with the next summary. */
function connected(yes) {
  if (!yes) seen = {};
  say(at("connection"), yes ? "" : "not connected");
}

async function begin() {
  try {
    const project = await get(base);
    key = project.key;
    showProject(project);
  } catch (refusal) {
    at("missing").hidden = false;
    at("missing").textContent = refusal.message;
    return;
  }
  loadSimulations();
  check();
  follow(onSummary, connected);
}

begin();
