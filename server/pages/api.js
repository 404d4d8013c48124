// The backend's data: asked for, sent, and followed as it changes.

const POLL_MS = 5000;

/** JSON from a relative address; an Error in words if it is refused. */
export async function get(address) {
  return answered(await fetch(address, { headers: { Accept: "application/json" } }));
}

export async function post(address, body) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return answered(await fetch(address, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answered(response) {
  const told = await response.json().catch(() => null);
  if (response.ok) return told;
  const detail = told?.detail;
  if (typeof detail === "string") throw new Error(detail);
  if (Array.isArray(detail)) throw new Error(detail.map((fault) => fault.msg).join("; "));
  throw new Error(`The backend answered ${response.status} ${response.statusText}`.trim());
}

/**
 * Follow all projects: `onSummary` for each change, `onConnected` with whether the backend answers.
 * Asks every five seconds while the stream of events is broken, and rests while the page is out of sight.
 */
export function follow(onSummary, onConnected) {
  let source = null;
  let polling = null;

  async function poll() {
    try {
      const { projects } = await get("api/projects");
      projects.forEach(onSummary);
      onConnected(true);
      if (source?.readyState === EventSource.CLOSED) listen();
    } catch {
      onConnected(false);
    }
  }

  function listen() {
    source?.close();
    source = new EventSource("api/events");
    source.addEventListener("project", (event) => onSummary(JSON.parse(event.data)));
    source.addEventListener("open", () => {
      clearInterval(polling);
      polling = null;
      onConnected(true);
    });
    source.addEventListener("error", () => {
      if (polling === null) {
        polling = setInterval(poll, POLL_MS);
        poll();
      }
    });
  }

  function rest() {
    source?.close();
    clearInterval(polling);
    source = polling = null;
  }

  // A hidden tab would hold one of the few connections that a browser opens to a host.
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : source || listen()));
  addEventListener("pagehide", rest);
  addEventListener("pageshow", () => source || listen());
  if (!document.hidden) listen();
}
