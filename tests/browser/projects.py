"""Projects as rounds leave them in the database, so that pages have something to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from xml.sax.saxutils import quoteattr

from sqlalchemy.orm import Session

from corpus import Choice, Kind, Mark, Relation, Sentence, Span
from labelstudio.events import record_of_task
from labelstudio.records import AnnotationRecord
from learning.database import Prediction, Project, Round, Task, text_hash
from learning.intake import put_annotations, put_tasks
from learning.marks import as_json
from learning.workspace import Workspace
from taggers import Tagger, tagger_class

SCRIPT = "<script>alert('executed')</script><img src=x onerror=alert(1)>"
HEBREW = "עיר הבירה"
LABELS = {"PER": "#e8a33d", "ORG": "#1f6feb", SCRIPT: "red;}*{display:none}", HEBREW: "white"}
CONFIG = (
    '<View><Labels name="label" toName="text">'
    + "".join(f"<Label value={quoteattr(name)} background={quoteattr(colour)}/>" for name, colour in LABELS.items())
    + '</Labels><Text name="text" value="$text"/></View>'
)
CHOICES_CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    f'<Choice value="complaint" background="#d1242f"/><Choice value={quoteattr(SCRIPT)}/></Choices></View>'
)
RELATIONS_CONFIG = CONFIG.replace(
    "</View>",
    '<Relations><Relation value="works_for"/><Relation value="knows"/></Relations></View>',
)
EVALUATED: dict[Kind, list[str]] = {
    "spans": ["PER", SCRIPT],
    "choices": ["complaint", SCRIPT],
    "relations": ["works_for"],
}
MIXED: dict[Kind, list[str]] = {**EVALUATED, "spans": list(LABELS)}
EMOJI = "👩‍👩‍👧 Zoë 🎉 met Ana Ruiz in Vigo."
RTL = "דנה לוי גרה בתל אביב"
LONG = "On and on " + "🙂x" * 24_995
"""50,000 code points, of which the page shows the first."""
PLAIN = [f"Clerk {n} wrote to Acme Corp about case {n * 7}." for n in range(1, 31)]
BORN = "2026-01-01T00:00:00.000000Z"
METHOD = "hold-out"
SECONDS = {"collect": 1.0, "fit": 60.0, "evaluate": 5.0, "rank": 5.0, "publish": 9.0}


@dataclass
class Written:
    """A project in the database; its methods write what a trainer would."""

    workspace: Workspace
    id: int
    number: int
    key: str

    def tell(self, task: int, text: str) -> None:
        """A task has another text."""
        with self.workspace.db.write() as session:
            json = {"id": task, "data": {"text": text}, "created_at": BORN}
            put_tasks(session, session.get_one(Project, self.id), [record_of_task(json)], seed=0)

    def begin(self, number: int, **progress: Any) -> None:
        """A round runs."""
        with self.workspace.db.write() as session:
            session.add(self._round(number, state="running", progress=progress))

    def move(self, number: int, state: str = "running", **progress: Any) -> None:
        """It gets on."""
        with self.workspace.db.write() as session:
            this = _round_of(session, self.id, number)
            this.state, this.progress = state, progress

    def fail(self, number: int, error: str) -> None:
        """It came to an error."""
        with self.workspace.db.write() as session:
            this = _round_of(session, self.id, number)
            this.state, this.error, this.finished_at = "failed", error, this.started_at + timedelta(seconds=9)

    def finish(
        self,
        number: int,
        f1: float,
        words: int,
        queue: Mapping[int, Sequence[Mark]],
        *,
        stored: bool = False,
        kind: Kind = "spans",
    ) -> None:
        """It is done: its metrics, and its queue, which is the tasks of `queue` in their order with their marks."""
        with self.workspace.db.write() as session:
            this = _round_of(session, self.id, number)
            this.state, this.progress, this.finished_at = "done", {}, this.started_at + timedelta(seconds=80)
            this.model_round_id, this.metrics = this.id, metrics(number, f1, words, kind)
            texts = {task.id: str(task.data["text"]) for task in _tasks(session, self.id)}
            session.add_all(
                Prediction(
                    round_id=this.id,
                    task_id=task,
                    text_hash=text_hash(texts[task]),
                    words=len(Sentence.from_text("", texts[task])),
                    spans=as_json(marks),
                    position=place,
                    priority=1 / (1 + place),
                    holdout=place == 2,
                )
                for place, (task, marks) in enumerate(queue.items())
            )
            session.get_one(Project, self.id).current_round_id = this.id
        if stored:
            self.workspace.models.save(_model(), self.id, version(number))

    def label(self, count: int) -> None:
        """People label so many new tasks."""
        tasks = [{"id": 100 + n, "data": {"text": PLAIN[n % len(PLAIN)]}, "created_at": BORN} for n in range(count)]
        with self.workspace.db.write() as session:
            project = session.get_one(Project, self.id)
            put_tasks(session, project, [record_of_task(task) for task in tasks], seed=0)
            put_annotations(session, project, [_annotation(task["id"]) for task in tasks])

    def set(self, **columns: Any) -> None:
        """Change the project's own row."""
        with self.workspace.db.write() as session:
            for name, value in columns.items():
                setattr(session.get_one(Project, self.id), name, value)

    def get(self, name: str) -> Any:
        """Read from the project's own row."""
        with self.workspace.db.read() as session:
            return getattr(session.get_one(Project, self.id), name)

    def _round(self, number: int, **more: Any) -> Round:
        told = {"kind": "fit", "reason": f"{10 * number} new annotations", "owner": "nobody:0", "revision": number}
        settings = self.workspace.settings.for_project({}).model_dump(mode="json")
        at = datetime(2026, 1, number, 12)
        return Round(
            project_id=self.id, number=number, version=version(number), started_at=at, settings=settings, **told, **more
        )


def version(number: int) -> str:
    return f"v{number}-abc{number}"


def metrics(number: int, f1: float, words: int, kind: Kind = "spans") -> dict[str, Any]:
    """Of a finished round, as `learning.rounds` writes them."""
    label = {"precision": f1 + 0.02, "recall": f1 - 0.02, "f1": f1, "support": 40}
    scores = {"f1": f1, "low": f1 - 0.04, "high": f1 + 0.03, "method": METHOD, "sentences": 20, "spans": 55}
    scores |= {"kind": kind, "accuracy": kind == "choices"}
    also = {"also": {"spans": {**scores, "kind": "spans", "f1": 0.9}}} if kind == "relations" else {}
    mix = [
        {"kind": kind, "label": name, "count": 9 - n, "share": 0.4 - n / 10, "pool_share": 0.25}
        for n, name in enumerate(MIXED[kind])
    ]
    return {
        "strategy": "mnlp",
        "ranked_by": "crf",
        "train_sentences": words // 9,
        "holdout_sentences": 20,
        "labelled_words": words,
        "pool_sentences": 30,
        "seconds": SECONDS,
        **also,
        "evaluation": {**scores, "precision": f1, "recall": f1, "per_label": dict.fromkeys(EVALUATED[kind], label)},
        "batch": {
            **{"round": number, "tasks": 10, "words": 92, "mean_words": 9.2, "pool_mean_words": 7.1, "labels": mix},
            **{"diversity": 0.8, "text": "Its texts are as varied as the pool's."},
        },
        "saving": {
            "text": "Random order would have needed about 30% more words.",
            "share": 0.3,
            "low": 0.1,
            "high": 0.5,
        },
    }


def write(workspace: Workspace, number: int, title: str | None = None, config: str = CONFIG) -> Written:
    """A connected project with tasks and annotations, and no round yet. Tasks 1 to 3 are the hostile texts."""
    texts = [EMOJI, f"{SCRIPT} {RTL}", LONG, *PLAIN]
    tasks = [{"id": n, "data": {"text": text}, "created_at": BORN} for n, text in enumerate(texts, 1)]
    key = f"{number}.1767225600"
    with workspace.db.write() as session:
        session.add(project := Project(key=key, external_id=number, label_config=config, title=title))
        session.flush()
        put_tasks(session, project, [record_of_task(task) for task in tasks], seed=0)
        put_annotations(session, project, [_annotation(n) for n in range(20, 34)])
        return Written(workspace, project.id, number, key)


def learned(workspace: Workspace, number: int, title: str | None = None) -> Written:
    """The same after five rounds, the last two with stored models, and with a suspected label error."""
    project = write(workspace, number, title)
    zoe, ana = EMOJI.index("Zoë"), EMOJI.index("Ana")
    place = len(SCRIPT) + 1
    queue = {
        1: [Span(zoe, zoe + 3, "PER", 0.41), Span(ana, ana + 8, "PER", 0.93)],
        2: [Span(0, 8, SCRIPT, 0.5), Span(place, place + 7, HEBREW, 0.6)],
        3: [Span(10, 12, "ORG", 0.3), Span(1_990, 2_400, "PER", 0.3)],
        **{task: [Span(0, 7, "PER", 0.8)] for task in range(4, 20)},
    }
    for n, (f1, words) in enumerate([(0.55, 200), (0.68, 420), (0.75, 700), (0.79, 1_050), (0.815, 1_500)], 1):
        project.begin(n, step="fit")
        project.finish(n, f1, words, queue if n == 5 else {1: []}, stored=n >= 4)
    doubt = {"start": 18, "end": 22, "given": "ORG", "suggested": "", "confidence": 0.97}
    spans = {"given": [{"start": 18, "end": 27, "label": "ORG"}], "suggested": []}
    item = {"task": 25, "text": PLAIN[21], **spans, "words": [doubt]}
    project.set(suspects={"version": version(5), "checked": 14, "items": [item]}, revision=5)
    return project


def classified(workspace: Workspace, number: int) -> Written:
    """A project with one choice a text, after two rounds."""
    project = write(workspace, number, config=CHOICES_CONFIG)
    for n, f1 in enumerate((0.7, 0.8), 1):
        project.begin(n, step="fit")
        project.finish(n, f1, 300 * n, {4: [Choice("complaint", 0.61)], 5: [Choice(SCRIPT, 0.9)]}, kind="choices")
    choice = {"given": "complaint", "suggested": SCRIPT, "confidence": 0.97}
    item = {"task": 25, "text": PLAIN[21], "given": [], "suggested": [], "words": [], "choice": choice}
    project.set(suspects={"version": version(2), "checked": 14, "items": [item], "notes": []})
    return project


def related(workspace: Workspace, number: int) -> Written:
    """A project with relations between spans, after a round."""
    project = write(workspace, number, config=RELATIONS_CONFIG)
    clerk, acme = Span(0, 7, "PER", 0.8), Span(17, 26, "ORG", 0.7)
    project.begin(1, step="fit")
    marks = [clerk, acme, Relation(clerk, acme, "works_for", 0.55)]
    project.finish(1, 0.6, 500, {4: marks, 5: [clerk, acme]}, kind="relations")
    return project


def _annotation(task: int) -> AnnotationRecord:
    result = [region(0, 7, "PER"), region(18, 27, "ORG")]
    return AnnotationRecord(id=task, task_id=task, result=result, updated_at=BORN)


def region(start: int, end: int, label: str) -> dict[str, Any]:
    """A region as Label Studio writes it."""
    value = {"start": start, "end": end, "text": "", "labels": [label]}
    return {"id": f"{start}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def _round_of(session: Session, project_id: int, number: int) -> Round:
    return session.query(Round).filter_by(project_id=project_id, number=number).one()


def _tasks(session: Session, project_id: int) -> list[Task]:
    return session.query(Task).filter_by(project_id=project_id).all()


def _model() -> Tagger:
    kind = tagger_class("crf")
    model = kind(kind.Options(), seed=0)
    model.fit([Sentence.from_text(str(n), text).labelled((Span(0, 7, "PER"),)) for n, text in enumerate(PLAIN)], [])
    return model
