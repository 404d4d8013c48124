"""What is to be labelled next, as people see it: text, suggested marks, and where the model is unsure."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from corpus import Choice, Relation, Sentence, Span
from labelstudio.documents import BadTask, document
from labelstudio.publish import score_at
from labelstudio.remote import addresses_in, in_place
from labelstudio.schema import Schema, read_schema
from learning.database import Annotation, Prediction, Project, Round, Task, text_hash
from learning.intake import known_project
from learning.marks import from_json
from learning.metrics import of_kind
from learning.remote_texts import Kept, look_up
from learning.serving import current_version, queue_length
from learning.workspace import Workspace
from server.links import project_link, task_link
from taggers import Damaged

LONGEST = 200
"""Tasks that can be asked for at once."""
SHOWN = 2_000
"""Characters of a text that are shown."""
UNCERTAIN = 3
"""Words of a text that are marked, at most,"""
SURE = 0.9
"""and only those of less confidence than this."""
REMEMBERED = 2_000
"""Texts whose uncertain words are kept."""

Words = list[tuple[int, int, float]]
"""Start, end and confidence of uncertain words, the least sure first."""

_known: OrderedDict[tuple[int, int, str], Words] = OrderedDict()
"""By the round of the model, the task, and its text: looking again costs nothing."""
_lock = threading.Lock()
"""So that several who look at once wait for one answer instead of asking the model for it several times."""


def queue(workspace: Workspace, key: str, limit: int) -> dict[str, Any]:
    """The first `limit` unlabelled tasks of the present ranking (`server.schemas.Queue`).

    Raises LookupError for an unknown project; UnsupportedConfig (a ValueError) if its texts cannot be read.
    """
    with workspace.db.read() as session:
        project = known_project(session, key)
        version = current_version(session, project)
        current = session.get(Round, project.current_round_id) if project.current_round_id else None
        if current is None:
            return {"version": version, "tasks": []}
        rows = _rows(session, project, current, limit)
        fitted = session.get(Round, current.model_round_id) if current.model_round_id else None
        length = queue_length(workspace, session, current.id)
        settings, _ = workspace.settings.in_force(project.extra_params)
    schema = read_schema(project.label_config, settings.control)
    with workspace.db.read() as session:
        fetched = look_up(session, project.id, addresses_in(schema, [task.data for _, task in rows]))
    texts = [_text(schema, task.data, fetched) for _, task in rows]
    shown = [Sentence.from_text(str(task.id), text[:SHOWN]) for (_, task), text in zip(rows, texts, strict=True)]
    unsure: list[Words] = [[] for _ in rows]
    if fitted is not None and "spans" in schema.kinds:
        unsure = _uncertain(workspace, project, fitted, shown)
    link, ordered_by = project_link(workspace.settings, project), str(current.metrics.get("strategy"))
    tasks = []
    for (row, task), text, sentence, words in zip(rows, texts, shown, unsure, strict=True):
        fresh = row.text_hash == text_hash(text)  # of another text the spans would lie anywhere
        marks = from_json(row.spans) if fresh else []
        tasks.append(
            {
                "id": task.id,
                "position": row.position,
                "priority": row.priority,
                "score": score_at(row.position or 0, length),
                "holdout": row.holdout,
                "text": sentence.text,
                "cut": len(text) > SHOWN,
                "words": row.words,
                "spans": [_span(span) for span in of_kind("spans", marks) if span.start < SHOWN],
                "choices": [_choice(choice) for choice in of_kind("choices", marks)],
                "relations": [_relation(found) for found in of_kind("relations", marks) if _is_shown(found)],
                "uncertain": [{"start": start, "end": end, "confidence": sure} for start, end, sure in sorted(words)],
                "why": _why(row, ordered_by, trained=fitted is not None),
                "link": task_link(link, task.id),
            }
        )
    return {"version": version, "tasks": tasks}


def _rows(session: Session, project: Project, current: Round, limit: int) -> Sequence[tuple[Prediction, Task]]:
    labelled = select(Annotation.task_id).where(Annotation.project_id == project.id, ~Annotation.deleted)
    wanted = (
        select(Prediction, Task)
        .join(Task, (Task.project_id == project.id) & (Task.id == Prediction.task_id))
        .where(Prediction.round_id == current.id, Prediction.position.is_not(None), Prediction.task_id.not_in(labelled))
    )
    return session.execute(wanted.order_by(Prediction.position).limit(limit)).tuples().all()


def _text(schema: Schema, data: dict[str, Any], fetched: Kept) -> str:
    try:
        return document(schema, in_place(schema, data, fetched.texts, fetched.problems)).text
    except BadTask:  # since it was ranked
        return ""


def _span(span: Span) -> dict[str, Any]:
    return {**_place(span), "confidence": span.confidence}


def _place(span: Span) -> dict[str, Any]:
    return {"start": span.start, "end": min(span.end, SHOWN), "label": span.label}


def _choice(choice: Choice) -> dict[str, Any]:
    return {"label": choice.label, "confidence": choice.confidence}


def _relation(found: Relation) -> dict[str, Any]:
    ends = {"head": _place(found.head), "tail": _place(found.tail)}
    return {**ends, "label": found.label, "confidence": found.confidence}


def _is_shown(relation: Relation) -> bool:
    return max(relation.head.start, relation.tail.start) < SHOWN


def _uncertain(workspace: Workspace, project: Project, fitted: Round, sentences: list[Sentence]) -> list[Words]:
    """Per sentence its uncertain words under the model of this round, as far as it is still stored."""
    keys = [(fitted.id, int(sentence.id), text_hash(sentence.text)) for sentence in sentences]
    with _lock:
        missing = [i for i, key in enumerate(keys) if key not in _known]
        if missing:
            try:
                tagger = workspace.models.load(project.id, fitted.version)
            except Damaged:
                return [_known.get(key, []) for key in keys]
            asked = [sentences[i] for i in missing]
            spans = tagger.parts.get("spans")  # none if the label config had no such labels yet
            for batch in spans.infer(asked) if spans else ():
                for row, (index, length) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
                    sure = batch.marginals_BTC[row, range(length), batch.path_BT[row, :length]]
                    least = [int(i) for i in sure.argsort(kind="stable")[:UNCERTAIN] if sure[i] < SURE]
                    words = asked[index].words
                    _known[keys[missing[index]]] = [(words[i].start, words[i].end, float(sure[i])) for i in least]
        found = [_known.get(key, []) for key in keys]
        for key in keys:
            if key in _known:
                _known.move_to_end(key)
        while len(_known) > REMEMBERED:
            _known.popitem(last=False)
    return found


def _why(row: Prediction, strategy: str, *, trained: bool) -> str:
    """One short sentence."""
    if row.holdout:
        return "Drawn at random for the hold-out."
    if not trained:
        return f"Chosen by {strategy}, before there is a model."
    if row.priority is None:
        return "Not compared: it follows what was."
    return f"Chosen by {strategy}."
