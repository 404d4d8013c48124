// The connection check: what is well, what is not, and what to do about it.

import { act } from "./actions.js";
import { get, post } from "./api.js";
import { el, fill } from "./dom.js";

const MARKS = { true: ["✓", "well"], false: ["✗", "not well"], null: ["?", "not known"] };

/** Wire the section; the function that is given back checks anew. */
export function checks(base, at, container) {
  const button = at("check");
  const answer = at("checks-answer");
  const load = () => act(button, answer, () => get(`${base}/checks`).then((found) => (show(found), { message: "" })));
  button.addEventListener("click", load);
  return load;

  function show({ checks: found }) {
    fill(container, el("ul", { class: "checks" }, found.map(row)));
  }

  function row(check) {
    const [mark, meaning] = MARKS[check.ok];
    const mend = el(
      "button",
      { type: "button", id: `mend-${check.name}` },
      "Set it",
      el("span", { class: "hidden" }, ` (${check.title})`),
    );
    mend.addEventListener("click", () =>
      act(mend, answer, async () => {
        show(await post(`${base}/checks/${encodeURIComponent(check.name)}`, {}));
        return { message: `${check.title}: set.` };
      }),
    );
    return el(
      "li",
      { "data-ok": String(check.ok) },
      el("span", { class: "sign", "aria-hidden": "true" }, mark),
      el(
        "div",
        {},
        el(
          "p",
          {},
          el("b", {}, check.title),
          el("span", { class: "hidden" }, ` (${meaning})`),
          check.text && el("span", { class: check.ok === null ? "quiet" : null }, `: ${check.text}`),
        ),
        check.ok !== true && check.remedy && el("p", { class: "quiet" }, check.remedy),
        check.ok === false && check.mendable && mend,
      ),
    );
  }
}
