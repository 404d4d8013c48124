"""What goes on in each project, as JSON and as a plain page."""

from __future__ import annotations

from html import escape
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from learning.database import Annotation, Project, Round, Task
from learning.history import advice
from learning.intake import labelled_since, last_fit_revision, queue_left, words_since
from learning.serving import current_version
from learning.workspace import Workspace
from server.simulations import newest

ROUNDS_SHOWN = 50


def project_states(workspace: Workspace) -> list[dict[str, Any]]:
    """Every project: state, counts, settings, and its newest rounds, the latest first. Holds no token."""
    with workspace.db.read() as session:
        return [
            _state(session, project, workspace) for project in session.scalars(select(Project).order_by(Project.id))
        ]


def _state(session: Session, project: Project, workspace: Workspace) -> dict[str, Any]:
    recent = session.scalars(
        select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(ROUNDS_SHOWN)
    ).all()
    settings, fault = workspace.settings.in_force(project.extra_params)
    advised = advice(session, project)
    tasks = session.scalar(select(func.count()).where(Task.project_id == project.id))
    labelled = session.scalar(
        select(func.count(func.distinct(Annotation.task_id))).where(
            Annotation.project_id == project.id, ~Annotation.deleted, ~Annotation.cancelled
        )
    )
    revision = last_fit_revision(session, project)
    new = labelled_since(session, project, revision)
    due_in = settings.round_size - new
    if settings.round_words is not None:
        due_in = settings.round_words - words_since(session, project, revision)
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    return {
        "key": project.key,
        "id": project.external_id,
        "state": _word(project, recent[0] if recent else None),
        "notice": fault or project.notice,
        "due": project.due_reason if project.due else None,
        "version": current_version(session, project),
        "tasks": tasks,
        "labelled": labelled,
        "new_annotations": new,
        "next_round_in": max(0, due_in),
        "next_round_unit": "tasks" if settings.round_words is None else "words",
        "queue_left": queue_left(session, project),
        "tagger": settings.tagger,
        "strategy": settings.strategy,
        "advice": advised.as_json() if advised else None,
        "ordered_by": current.metrics.get("strategy") if current else None,
        "ranked_by": current.metrics.get("ranked_by") if current else None,
        "simulation": next(iter(newest(session, project, 1)), None),
        "rounds": [_round(this) for this in recent],
    }


def _word(project: Project, last: Round | None) -> str:
    if last is None:
        return "waiting"
    if last.state in ("running", "publishing") and last.error is None:
        return {"running": "training", "publishing": "publishing"}[last.state]
    if last.error is not None:
        return "error"
    return "cold start" if last.kind == "cold start" else "collecting"


def _round(this: Round) -> dict[str, Any]:
    return {
        "number": this.number,
        "version": this.version,
        "kind": this.kind,
        "state": this.state,
        "reason": this.reason,
        "progress": this.progress,
        "metrics": {name: value for name, value in this.metrics.items() if name != "holdout_counts"},
        "problems": this.problems,
        "error": this.error,
        "started_at": this.started_at.isoformat(timespec="seconds") + "Z",
        "seconds": (this.finished_at - this.started_at).total_seconds() if this.finished_at else None,
    }


def status_page(states: list[dict[str, Any]]) -> str:
    """A plain page without scripts; everything that came from outside is escaped."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>Active Tagger</title>"]
    parts.append("<meta http-equiv=refresh content=5><h1>Active Tagger</h1>")
    if not states:
        parts.append("<p>No project is connected yet.</p>")
    for state in states:
        parts.append(f"<h2>Project {state['id']}: {escape(state['state'])}</h2>")
        if state["notice"]:
            parts.append(f"<p><strong>{escape(state['notice'])}</strong></p>")
        parts.append(
            f"<p>{state['labelled']} of {state['tasks']} tasks labelled; tagger {escape(state['tagger'])}, strategy "
            f"{escape(state['strategy'])}; next round after {state['next_round_in']} more "
            f"{state['next_round_unit']}.</p>"
        )
        if state["ordered_by"] not in (None, state["strategy"]):
            parts.append(
                f"<p>The queue is ordered by {escape(state['ordered_by'])}: a strategy that needs a trained model "
                "takes over after the first training.</p>"
            )
        if state["ranked_by"] not in (None, state["tagger"]):
            parts.append(
                f"<p>The queue is ordered with {escape(state['ranked_by'])}, which is trained first in each round; the "
                f"spans are those of {escape(state['tagger'])}.</p>"
            )
        if state["advice"]:
            parts.append(f"<p>{escape(state['advice']['text'])}</p>")
        if state["simulation"]:
            parts.append(_simulation(state["key"], state["simulation"]))
        parts.append("<table border=1><tr><th>Round<th>Version<th>What<th>State<th>Progress<th>F1<th>Seconds<th>Error")
        parts.extend(_row(this) for this in state["rounds"])
        parts.append("</table>")
    return "\n".join(parts)


def _simulation(key: str, this: dict[str, Any]) -> str:
    told = f"Simulation {this['id']}: {this['state']}"
    if this["state"] == "running" and this["progress"]:
        told += f", {this['progress']['done']} of {this['progress']['of']} rounds"
    if this["error"]:
        told += f". {this['error']}"
    if not this["result"]:
        return f"<p>{escape(told)}</p>"
    address = escape(f"projects/{key}/simulations/{this['id']}/report")
    return f'<p>{escape(told)}. {escape(this["result"]["advice"])} <a href="{address}">Report</a></p>'


def _row(this: dict[str, Any]) -> str:
    scores = (this["metrics"] or {}).get("evaluation")
    f1 = f"{scores['f1']:.3f} ({scores['low']:.3f} to {scores['high']:.3f}, {scores['method']})" if scores else ""
    progress = ", ".join(f"{name} {value}" for name, value in this["progress"].items())
    cells = [
        this["number"],
        this["version"],
        f"{this['kind']}: {this['reason']}",
        this["state"],
        progress,
        f1,
        "" if this["seconds"] is None else f"{this['seconds']:.0f}",
        this["error"] or "",
    ]
    return "<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in cells)
