// Numbers and states in words.

export const NONE = "–";

export const number = (value) => (value === null || value === undefined ? NONE : value.toLocaleString("en"));

/** A share of one in points: 0.8743 is "87.4". */
export const points = (share) => (share === null || share === undefined ? NONE : (100 * share).toFixed(1));

export const interval = (low, high) => (low === null || low === undefined ? "" : `${points(low)}–${points(high)}`);

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function moment(iso) {
  return iso ? new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : NONE;
}

export function bytes(count) {
  if (count === null || count === undefined) return NONE;
  return count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
}

/** What an F1 is of; for one choice a text it is the accuracy. */
export const f1Of = ({ kind, accuracy }) => `F1 of ${kind}${accuracy ? " (accuracy)" : ""}`;

export const title = (summary) => summary.title || `Project ${summary.id}`;

const STEPS = {
  collect: "reading annotations",
  adapt: "reading the project's texts",
  fit: "training",
  evaluate: "measuring",
  measure: "reading the unlabelled tasks",
  rank: "ordering the queue",
  tag: "marking texts",
  store: "saving",
  publish: "sending predictions to Label Studio",
};

/** What goes on in a project, in one sentence. */
export function activity(summary) {
  const { state, progress } = summary;
  if (progress && (state === "training" || state === "publishing")) {
    const many = progress.of > 1 ? ` (${number(progress.done)} of ${number(progress.of)})` : "";
    return `Round ${progress.round}: ${STEPS[progress.step] ?? progress.step ?? state}${many}`;
  }
  const sentences = {
    waiting: "No round has run yet",
    "cold start": "The queue is ordered without a model until enough is labelled",
    collecting: "New annotations wait for the next round",
    training: "A round is running",
    publishing: "Predictions are sent to Label Studio",
    idle: summary.queue_left === 0 ? "Everything is labelled" : "Nothing new since the last round",
    paused: "No round begins until you resume",
    error: "The last round failed",
  };
  return sentences[state] ?? "";
}

/** How far away the next round is. */
export function nextRound(summary) {
  const next = summary.next_round;
  if (!next) return NONE;
  if (summary.due || next.in === 0) return summary.paused ? "when resumed" : "now";
  return `in ${plural(next.in, next.unit.replace(/s$/, ""), next.unit)}`;
}

export const timeLeft = (progress) =>
  progress?.seconds_left == null ? "" : `about ${duration(progress.seconds_left)} left`;
