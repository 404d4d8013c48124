"""Connected projects that have a model, and pools of texts for them, without a Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pools.folder
from corpus import Choice, Kind, Relation, Sentence
from labelstudio.documents import document
from labelstudio.records import AnnotationRecord, TaskRecord
from labelstudio.results import result_of
from labelstudio.schema import read_schema
from learning.database import Project, Round, now
from learning.intake import put_annotations, put_tasks
from learning.workspace import Workspace
from pools.folder import Pool
from taggers import Tagger
from tests.learning.texts import texts

TAGS = {
    "spans": '<Labels name="who" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>',
    "choices": '<Choices name="about" toName="text"><Choice value="people"/><Choice value="places"/>'
    '<Choice value="weather"/></Choices>',
    "relations": '<Relations><Relation value="lives in"/></Relations>',
}


def config(*kinds: Kind) -> str:
    """A label config that asks for these kinds of marks."""
    return f"<View>{''.join(TAGS[kind] for kind in kinds)}<Text name='text' value='$text'/></View>"


def marked(n: int, kinds: Sequence[Kind], seed: int = 0) -> list[Sentence]:
    """Texts about people (who live somewhere, or do not), about places, and about rain."""
    made = []
    for sentence in texts(n, seed):
        labels = [span.label for span in sentence.spans]
        choice = Choice("people" if "PER" in labels else "places" if labels else "weather")
        lives = [Relation(*sentence.spans, "lives in")] if " lives in " in sentence.text else []
        marks = {"spans": sentence.spans, "choices": [choice], "relations": lives}
        made.append(sentence.marked([mark for kind in kinds for mark in marks[kind]], kinds))
    return made


def connected(
    workspace: Workspace, model: Tagger, learned: Sequence[Sentence], kinds: Sequence[Kind], ranks: Tagger | None = None
) -> int:
    """A project in which these texts were labelled, and whose current round has trained this model, and one that ranks
    if it is another; its number in the database."""
    schema = read_schema(config(*kinds))
    with workspace.db.write() as session:
        project = Project(key="2.1700000000", external_id=2, label_config=config(*kinds))
        session.add(project)
        session.flush()
        done = {"kind": "fit", "state": "done", "reason": "", "owner": "", "revision": 0, "started_at": now()}
        this = Round(project_id=project.id, number=3, version="v3-20260101-000000", **done)
        session.add(this)
        session.flush()
        this.model_round_id = project.current_round_id = this.id
        workspace.models.save(model, project.id, this.version, acquisition=ranks)
        tasks = [TaskRecord(n, {"text": sentence.text}, "2026") for n, sentence in enumerate(learned)]
        put_tasks(session, project, tasks, 0)
        results = [
            result_of(
                schema, document(schema, {"text": sentence.text}), [m for kind in kinds for m in sentence.marks(kind)]
            )
            for sentence in learned
        ]
        put_annotations(session, project, [AnnotationRecord(n, n, result, "2026") for n, result in enumerate(results)])
        return project.id


def made_pool(folder: Path, data: Sequence[object], rows: int, monkeypatch) -> Pool:
    """Of texts, or of tasks' data, in parts of so many rows."""
    monkeypatch.setattr(pools.folder, "PART_ROWS", rows)
    pool = Pool.make(folder)
    pool.add([one if isinstance(one, dict) else {"text": one} for one in data])
    return pool


def numbered(count: int, seed: int = 9) -> list[str]:
    """Texts none of which is another."""
    return [f"{sentence.text} {n}" for n, sentence in enumerate(texts(count, seed))]
