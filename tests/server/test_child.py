"""What the training process leaves behind after a round, besides the model and the queue."""

import pytest
from sqlalchemy import select

from labelstudio.records import AnnotationRecord, TaskRecord
from learning.database import Project, Round
from learning.intake import mark_due, put_annotations, put_tasks
from server import child
from tests.learning.texts import texts
from tests.server.conftest import CONFIG, KEY

WRONG = 17


@pytest.fixture
def worked(workspace, monkeypatch):
    """80 annotated tasks of 120, one of them with a wrong label, after their first round."""
    everything = texts(120)
    span = next(iter(everything[WRONG - 1].spans))
    wrong = "LOC" if span.label == "PER" else "PER"
    annotations = [
        AnnotationRecord(
            int(sentence.id),
            int(sentence.id),
            [
                region(s.start, s.end, wrong if (s, sentence.id) == (span, str(WRONG)) else s.label, i)
                for i, s in enumerate(sentence.spans)
            ],
            "2026",
        )
        for sentence in everything[:80]
    ]
    with workspace.db.write() as session:
        session.add(project := Project(key=KEY, external_id=4, label_config=CONFIG))
        session.flush()
        put_tasks(session, project, [TaskRecord(int(s.id), {"text": s.text}, "2026") for s in everything], 0)
        put_annotations(session, project, annotations)
        mark_due(project, "fit", "test")
    monkeypatch.setattr(child, "prepare", lambda: workspace)
    child.memory.cache_clear()  # of another test's project of this number
    child.work(project.id)
    with workspace.db.read() as session:
        return session.scalars(select(Project.suspects)).one(), session.scalars(select(Round)).one(), span


def region(start: int, end: int, label: str, number: int) -> dict:
    value = {"start": start, "end": end, "labels": [label]}
    return {"id": f"r{number}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def test_a_round_leaves_its_batch_and_suspected_errors(worked, client):
    suspects, this, span = worked
    assert (this.kind, this.state) == ("fit", "done")
    batch = this.metrics["batch"]
    assert (batch["round"], batch["tasks"]) == (1, 80)
    assert batch["words"] == sum(len(sentence) for sentence in texts(80))
    (item,) = suspects["items"]
    assert (suspects["version"], suspects["checked"], item["task"]) == (this.version, 80, WRONG)
    assert {"start": span.start, "end": span.end, "label": span.label} in item["suggested"]
    assert {(word["start"], word["suggested"]) for word in item["words"]} == {(span.start, span.label)}
    told = client.get(f"/api/projects/{KEY}/suspects").json()
    assert [each["task"] for each in told["items"]] == [WRONG]
    assert client.get(f"/api/projects/{KEY}").json()["batch"] == batch
