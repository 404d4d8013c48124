"""What goes on in each project, as data. Holds no token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from corpus import KINDS, Kind
from labelstudio.labels import colours, label_counts, labels_of_kind
from labelstudio.records import AnnotationRecord
from labelstudio.results import chosen
from labelstudio.schema import Schema, UnsupportedConfig, kinds_of, read_schema
from learning.advice import Point
from learning.curve import fitted
from learning.database import Annotation, Project, Round, Task
from learning.history import advice, present_curve
from learning.intake import known_project, labelled_since, last_fit_revision, queue_left, words_since
from learning.metrics import main_kind
from learning.serving import current_version
from learning.settings import MODELS, ProjectSettings
from learning.workspace import Workspace
from server.links import project_link
from server.progress import progress
from strategies import STRATEGIES, check, strategy
from taggers import TAGGERS

ROUNDS_SHOWN = 50


def summaries(workspace: Workspace) -> list[dict[str, Any]]:
    """Every project at a glance (`server.schemas.Summary`)."""
    with workspace.db.read() as session:
        projects = session.scalars(select(Project).order_by(Project.id))
        return [summary(session, project, workspace) for project in projects]


def summary(session: Session, project: Project, workspace: Workspace) -> dict[str, Any]:
    """One project at a glance."""
    last = session.scalar(select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(1))
    settings, fault = workspace.settings.in_force(project.extra_params, partial(kinds_of, project.label_config))
    revision = last_fit_revision(session, project)
    new = labelled_since(session, project, revision)
    due_in = settings.round_size - new
    if settings.round_words is not None:
        due_in = settings.round_words - words_since(session, project, revision)
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    schema = _schema(project, settings)
    models = {kind: settings.of(kind).tagger for kind in (schema.kinds if schema else ("spans",))}
    fault = fault or misfit(settings, schema)
    evaluations = _evaluations(session, current)
    return {
        "key": project.key,
        "id": project.external_id,
        "title": project.title,
        "state": _word(project, last, new),
        "notice": workspace.storage.fault() or fault or project.notice,
        "error": last.error if last else None,
        "due": project.due_reason if project.due else None,
        "paused": project.paused,
        "progress": progress(session, last) if last and _under_way(last) else None,
        "evaluation": next(iter(evaluations), None),
        "evaluated_also": evaluations[1:],
        "tasks": session.scalar(select(func.count()).where(Task.project_id == project.id)) or 0,
        "labelled": labelled_since(session, project, -1),
        "queue_left": queue_left(session, project),
        "new_annotations": new,
        "next_round": {
            "in": max(0, due_in),
            "unit": "tasks" if settings.round_words is None else "words",
        },
        "version": current_version(session, project),
        "tagger": models[main_kind(models)],
        "models": models,
        "strategy": settings.strategy,
        "ordered_by": current.metrics.get("strategy") if current else None,
        "ranked_by": current.metrics.get("ranked_by") if current else None,
    }


def _word(project: Project, last: Round | None, new: int) -> str:
    if last is not None and _under_way(last):
        return {"running": "training", "publishing": "publishing"}[last.state]
    if project.paused:
        return "paused"
    if last is None:
        return "waiting"
    if last.error is not None:
        return "error"
    if last.kind == "cold start":
        return "cold start"
    return "collecting" if new else "idle"


def _under_way(this: Round) -> bool:
    return this.state in ("running", "publishing") and this.error is None


def _evaluations(session: Session, current: Round | None) -> list[dict[str, Any]]:
    """Of the model in use, what the project is judged by first; the round that trained it knows on how many words."""
    if current is None:
        return []
    fitted = session.get(Round, current.model_round_id) if current.model_round_id else None
    words = (fitted or current).metrics.get("labelled_words")
    return [
        {name: scores[name] for name in ("f1", "low", "high")}
        | {"kind": kind, "accuracy": scores.get("accuracy", False), "words": words}
        | {"method": scores.get("method") or current.metrics["evaluation"]["method"]}
        for kind, scores in _scores(current).items()
    ]


def _scores(this: Round) -> dict[Kind, dict[str, Any]]:
    """A round's evaluation by kind, of what the project is judged by first."""
    main = this.metrics.get("evaluation")
    return {main.get("kind", "spans"): main, **(this.metrics.get("also") or {})} if main else {}


def detail(workspace: Workspace, key: str) -> dict[str, Any]:
    """One project with all that is shown of it (`server.schemas.Detail`). Raises LookupError if it is unknown."""
    with workspace.db.read() as session:
        project = known_project(session, key)
        settings, _ = workspace.settings.in_force(project.extra_params, partial(kinds_of, project.label_config))
        rounds = session.scalars(
            select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(ROUNDS_SHOWN)
        ).all()
        schema = _schema(project, settings)
        fitted_rounds = present_curve(session, project)
        advised = advice(fitted_rounds)
        latest: dict[str, Any] = {name: _newest(rounds, name) for name in ("saving", "batch", "evaluation")}
        return {
            **summary(session, project, workspace),
            "link": project_link(workspace.settings, project),
            "labels": _labels(project, schema),
            "advice": advised.as_json() if advised else None,
            "curve": {**_curve(fitted_rounds), "saving": latest["saving"]},
            "label_scores": _label_scores(session, project, schema),
            "batch": latest["batch"],
            "rounds": [_round(this) for this in rounds],
            "versions": _versions(session, project, workspace),
            "settings": {name: getattr(settings, name) for name in ProjectSettings.model_fields},
            "choices": choices(settings.acquisition),
        }


def misfit(settings: ProjectSettings, schema: Schema | None) -> str | None:
    """Why rounds of a project with such labels cannot be ordered by these settings, in words; None if they can."""
    try:
        settings.check_for(schema.kinds if schema else ())
    except ValueError as error:
        return str(error)
    return None


def _newest(rounds: Any, name: str) -> Any:
    return next((found for this in rounds if (found := this.metrics.get(name))), None)


def _schema(project: Project, settings: ProjectSettings) -> Schema | None:
    try:
        return read_schema(project.label_config, settings.control)
    except UnsupportedConfig:
        return None


def _labels(project: Project, schema: Schema | None) -> list[dict[str, Any]]:
    """With their colours."""
    if schema is None:
        return []
    return [
        {"kind": kind, "value": label, "colour": colour}
        for kind in schema.kinds
        for label, colour in colours(project.label_config, schema, kind).items()
    ]


def _curve(rounds: Sequence[Round]) -> dict[str, Any]:
    """The points of the learning curve, and the curve fitted to them."""
    told = [(this, point) for this in rounds if (point := Point.from_metrics(this.metrics))]
    fit = fitted([point for _, point in told])
    return {
        "points": [
            {
                "round": this.number,
                "version": this.version,
                **{name: getattr(point, name) for name in ("kind", "words", "f1", "low", "high", "method")},
                "accuracy": this.metrics["evaluation"].get("accuracy", False),
            }
            for this, point in told
        ],
        "fit": fit.as_json() if fit else None,
    }


def _label_scores(session: Session, project: Project, schema: Schema | None) -> list[dict[str, Any]]:
    """Per label of the config, and those besides that were evaluated: scores, and how often it was given."""
    if schema is None:
        return []
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    scores = _scores(current) if current else {}
    counts = _counts(session, project, schema)
    rows = []
    labels = [(kind, label) for kind in schema.kinds for label in labels_of_kind(schema, kind)]
    evaluated = [(kind, label) for kind in KINDS for label in scores.get(kind, {}).get("per_label", {})]
    for kind, label in dict.fromkeys([*labels, *evaluated]):
        of = scores.get(kind, {}).get("per_label", {}).get(label, {})
        gold, precision, recall = of.get("support"), of.get("precision"), of.get("recall")
        right = gold * recall if gold is not None else None
        rows.append(
            {
                "kind": kind,
                "label": label,
                **{name: of.get(name) for name in ("precision", "recall", "f1")},
                "gold": gold,
                # Stored are shares: without a right one they do not say how many were found.
                "predicted": round(right / precision) if right and precision else None,
                "labelled": counts[kind].get(label, 0),
            }
        )
    return rows


Counts = dict[Kind, dict[str, int]]
_counted: dict[int, tuple[int, Schema, Counts]] = {}
"""By project: the revision, the schema, and the labels' counts, which take as long to make as to read everything."""


def _counts(session: Session, project: Project, schema: Schema) -> Counts:
    known = _counted.get(project.id)
    if known is None or known[:2] != (project.revision, schema):
        by_task: dict[int, list[AnnotationRecord]] = {}
        columns = [getattr(Annotation, name) for name in AnnotationRecord.__dataclass_fields__]
        of_project = (Annotation.project_id == project.id, ~Annotation.deleted)
        for row in session.execute(select(*columns).where(*of_project)):
            by_task.setdefault(row.task_id, []).append(AnnotationRecord(*row))
        results = [one.result for records in by_task.values() if (one := chosen(records))]
        counts: Counts = {kind: dict(label_counts(schema, results, kind)) for kind in KINDS}
        known = _counted[project.id] = (project.revision, schema, counts)
    return known[2]


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
        "started_at": _time(this.started_at),
        "seconds": max(0.0, (this.finished_at - this.started_at).total_seconds()) if this.finished_at else None,
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds") + "Z"


def _versions(session: Session, project: Project, workspace: Workspace) -> list[dict[str, Any]]:
    """The models that rounds have trained, the latest first: those on disk, and of the others the newest."""
    stored = workspace.models.versions(project.id)
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    fitted = session.scalars(
        select(Round)
        .where(Round.project_id == project.id, Round.kind == "fit", Round.model_round_id == Round.id)
        .order_by(Round.number.desc())
    ).all()
    return [
        {
            "version": this.version,
            "round": this.number,
            "current": current is not None and current.model_round_id == this.id,
            "stored": this.version in stored,
            "f1": (this.metrics.get("evaluation") or {}).get("f1"),
            "words": this.metrics.get("labelled_words"),
            "tagger": ", ".join(_model(this, kind) for kind in KINDS if kind in (_scores(this) or ("spans",))),
            "strategy": this.settings.get("strategy"),
            "settings": this.settings,
            "created_at": _time(this.started_at),
            "bytes": _bytes(workspace, project.id, this.version) if this.version in stored else None,
        }
        for i, this in enumerate(fitted)
        if i < ROUNDS_SHOWN or this.version in stored
    ]


def _model(this: Round, kind: Kind) -> str:
    """The name of the model that a round trained for one kind of marks."""
    return str(this.settings.get(MODELS[kind][0]))


def _bytes(workspace: Workspace, project_id: int, version: str) -> int:
    files = workspace.models.folder(project_id, version).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


@cache
def choices(acquisition: str | None) -> dict[str, Any]:
    """The models of each kind, by the setting that names them, and by model the strategies that work with it, or with
    the `acquisition` model that then ranks."""

    def works(name: str, model: str) -> bool:
        quick = acquisition is not None and TAGGERS[acquisition].kind == TAGGERS[model].kind
        ranks, chosen = TAGGERS[acquisition if acquisition and quick else model], strategy(name)
        try:
            check(chosen, ranks.provides)
        except ValueError:
            return False
        return chosen.dropout is None or chosen.dropout in ranks.dropouts

    return {
        "models": {
            setting: [name for name, entry in TAGGERS.items() if entry.kind == kind]
            for kind, (setting, _) in MODELS.items()
        },
        "strategies": {model: [name for name in STRATEGIES if works(name, model)] for model in TAGGERS},
    }
