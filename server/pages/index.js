// All projects at a glance.

import { follow, get } from "./api.js";
import { el, fill, outside, say } from "./dom.js";
import { facts } from "./facts.js";
import { notices, stateView } from "./state.js";
import { title } from "./words.js";

const at = (id) => document.getElementById(id);
const cards = new Map();

at("address").textContent = new URL(".", location.href).href;

function card(summary) {
  const [status, showState] = stateView();
  const heading = el("a", { href: `project?key=${encodeURIComponent(summary.key)}` });
  const [figures, notes] = [el("div"), el("div")];
  const item = el("li", { class: "project" }, el("h2", {}, heading), status, notes, figures);
  let state = null;

  function show(summary) {
    fill(heading, outside(title(summary)));
    showState(summary);
    fill(notes, notices(summary));
    fill(figures, facts(summary));
    if (state !== null && state !== summary.state) say(at("changes"), `${title(summary)}: ${summary.state}`);
    state = summary.state;
  }
  at("projects").append(item);
  return show;
}

function show(summary) {
  at("empty").hidden = true;
  if (!cards.has(summary.key)) cards.set(summary.key, card(summary));
  cards.get(summary.key)(summary);
}

const connected = (yes) => say(at("connection"), yes ? "" : "not connected");

get("api/projects").then(
  ({ projects }) => {
    at("empty").hidden = projects.length > 0 || cards.size > 0;
    projects.forEach(show);
    follow(show, connected);
  },
  () => {
    connected(false);
    follow(show, connected);
  },
);
