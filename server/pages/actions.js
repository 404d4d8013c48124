// What people can do with a project. Each answer, and each refusal, is told beside the control.

import { post } from "./api.js";
import { el, fill } from "./dom.js";

/** The setting that names the model of a kind of marks; its control has that name as id. */
const MODELS = { spans: "tagger", choices: "classifier", relations: "relation_classifier" };

/** Run an action while its control is at rest; tell what came of it in `answer`. Whether it was taken up. */
export async function act(control, answer, action) {
  if (control.getAttribute("aria-disabled") === "true") return false;
  control.setAttribute("aria-disabled", "true");
  answer.className = "answer";
  answer.textContent = "";
  try {
    const told = await action();
    answer.textContent = told?.message ?? "Done.";
    return true;
  } catch (refusal) {
    answer.classList.add("wrong");
    answer.textContent = refusal.message;
    return false;
  } finally {
    control.removeAttribute("aria-disabled");
  }
}

/** Wire the controls of the project at `base` ("api/projects/…"); `show` keeps them with its present state. */
export function actions(base, at, onChanged) {
  let project = null;
  const [round, pause, settings] = ["round", "pause", "settings"].map(at);
  const done = (taken) => taken && onChanged();

  round.addEventListener("click", () => act(round, at("answer"), () => post(`${base}/round`, {})).then(done));
  pause.addEventListener("click", () =>
    act(pause, at("answer"), () => post(`${base}/pause`, { paused: !project.paused })).then(done),
  );
  for (const name of Object.values(MODELS)) at(name).addEventListener("change", offerStrategies);
  settings.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = Object.fromEntries([...Object.values(models()), "strategy"].map((name) => [name, at(name).value]));
    const changed = Object.fromEntries(
      Object.entries(wanted).filter(([name, value]) => value !== project.settings[name]),
    );
    const answer = at("answer");
    if (!Object.keys(changed).length) {
      answer.className = "answer";
      answer.textContent = "These are in use already.";
      return;
    }
    act(event.submitter ?? settings, answer, () => post(`${base}/settings`, changed)).then(done);
  });
  at("simulation").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    const chosen = new FormData(form);
    const wanted = { seeds: Number(chosen.get("seeds")), rounds: Number(chosen.get("rounds")) };
    if (chosen.getAll("strategies").length) wanted.strategies = chosen.getAll("strategies");
    act(event.submitter ?? form, at("simulation-answer"), () => post(`${base}/simulations`, wanted)).then(done);
  });

  /** The settings of the models of what the project marks, by kind. */
  function models() {
    return Object.fromEntries(Object.keys(project.models).map((kind) => [kind, MODELS[kind]]));
  }

  /** Strategies that fit all models that have a say in the order; `named` says which model a setting names. */
  function fitting(named) {
    const { queue_by: by, acquisition } = project.settings;
    const all = Object.entries(models());
    const ordering = all.filter(([kind]) => kind === by);
    const ranks = (ordering.length ? ordering : all).map(([kind, name]) =>
      acquisition && project.choices.models[name].includes(acquisition) ? acquisition : named(name),
    );
    const [first, ...others] = ranks.map((model) => project.choices.strategies[model] ?? []);
    return first.filter((strategy) => others.every((fit) => fit.includes(strategy)));
  }

  function offerStrategies() {
    const chosen = at("strategy").value || project.settings.strategy;
    offer(at("strategy"), fitting((name) => at(name).value), chosen);
  }

  return function show(summary) {
    const before = project;
    project = summary;
    pause.textContent = project.paused ? "Resume" : "Pause";
    at("link").hidden = !project.link;
    if (project.link && /^https?:/.test(project.link)) at("link").href = project.link;
    const known =
      before &&
      JSON.stringify([before.settings, before.choices, before.models]) ===
        JSON.stringify([project.settings, project.choices, project.models]);
    if (known) return; // what somebody is choosing right now stays
    const used = Object.values(models());
    for (const name of Object.values(MODELS)) {
      at(name).closest("label").hidden = !used.includes(name);
      offer(at(name), project.choices.models[name], project.settings[name]);
    }
    at("strategy").value = "";
    offerStrategies();
    const boxes = fitting((name) => project.settings[name]).map((name) => {
      const box = el("input", { type: "checkbox", name: "strategies", value: name, id: `simulate-${name}` });
      box.checked = name === project.settings.strategy || name === "random";
      return el("label", {}, box, ` ${name}`);
    });
    fill(at("simulated"), boxes);
  };
}

function offer(select, names, chosen) {
  const offered = names.includes(chosen) || !chosen ? names : [chosen, ...names];
  fill(
    select,
    offered.map((name) => el("option", { value: name }, name)),
  );
  select.value = chosen;
}
