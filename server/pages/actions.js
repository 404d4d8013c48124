// What people can do with a project. Each answer, and each refusal, is told beside the control.

import { post } from "./api.js";
import { el, fill } from "./dom.js";

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
  at("tagger").addEventListener("change", offerStrategies);
  settings.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = { tagger: at("tagger").value, strategy: at("strategy").value };
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

  function offerStrategies() {
    const ranking = project.settings.acquisition ?? at("tagger").value;
    offer(at("strategy"), project.choices.strategies[ranking] ?? [], at("strategy").value || project.settings.strategy);
  }

  return function show(summary) {
    const before = project;
    project = summary;
    pause.textContent = project.paused ? "Resume" : "Pause";
    at("link").hidden = !project.link;
    if (project.link && /^https?:/.test(project.link)) at("link").href = project.link;
    const known =
      before &&
      JSON.stringify([before.settings, before.choices]) === JSON.stringify([project.settings, project.choices]);
    if (known) return; // what somebody is choosing right now stays
    offer(at("tagger"), project.choices.taggers, project.settings.tagger);
    at("strategy").value = "";
    offerStrategies();
    const ranking = project.settings.acquisition ?? project.settings.tagger;
    const boxes = (project.choices.strategies[ranking] ?? []).map((name) => {
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
