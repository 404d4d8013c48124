"""A live Label Studio project as the loop's venue: the database kept in step with the API, and the queue published."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from corpus import Mark
from corpus.tags import encode
from labelstudio.client import LabelStudio, LabelStudioError, Unauthorized
from labelstudio.publish import clean_up, publish, score_at
from labelstudio.records import AnnotationRecord
from labelstudio.remote import library
from labelstudio.results import chosen, labels_of, prediction, result_of
from labelstudio.schema import Schema, read_schema
from learning.database import Annotation, Project, Round, clock
from learning.serving import UNTRAINED
from learning.settings import ProjectSettings
from learning.venue import Collected
from learning.workspace import Workspace
from server.connection import connect
from server.reconcile import reconcile
from server.texts import Texts

log = logging.getLogger("active_tagger")

NO_KEY = (
    "Label Studio is not told the order: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY (in Label Studio: Account & "
    "Settings → Personal Access Token). Until then this backend pre-annotates and scores only what it is asked for."
)


@dataclass
class Memory:
    """What a process keeps of a project between rounds; to forget it costs time, and nothing else."""

    reconciled: datetime | None = None
    """Label Studio's time up to which this process has compared everything."""
    texts: Texts = field(default_factory=Texts)


class LiveVenue:
    """One project. Without a working API key it lives on webhooks alone, and says so in the project's notice."""

    def __init__(
        self, workspace: Workspace, project_id: int, settings: ProjectSettings, memory: Memory | None = None
    ) -> None:
        self.workspace = workspace
        self.project_id = project_id
        self.settings = settings
        self.memory = memory or Memory()

    def collect(self) -> Collected:
        """Reconcile with Label Studio where it can be reached, then read everything from the database."""
        try:
            client = self._client
            if client is not None:
                since, self.memory.reconciled = self.memory.reconciled, None  # a failure in between: all again
                self.memory.reconciled = reconcile(
                    self.workspace.db, client, self.project_id, self.settings.seed, since
                )
            self._notify(None if client else NO_KEY)
        except LabelStudioError as error:
            self._notify(f"{error} Learning goes on with what is known.")
        self._fetch_texts()
        return self.snapshot()

    def _fetch_texts(self) -> None:
        """Where tasks name their texts by address."""
        with self.workspace.db.read() as session:
            project = session.get_one(Project, self.project_id)
        schema = read_schema(project.label_config, self.settings.control)
        try:
            load = library(self.workspace.settings, project.connection, project.external_id).load
        except LabelStudioError as error:
            log.warning("project %s: no text is fetched: %s", project.key, error)
            return
        self.memory.texts.fetch(self.workspace.db, self.project_id, schema, load, self._tell)

    def _tell(self, done: int, of: int) -> None:
        """Write down how many texts are fetched, as the running round's progress."""
        told = {"step": "collect", "done": done, "of": of}
        running = (Round.project_id == self.project_id, Round.state == "running")
        with self.workspace.db.write() as session:
            session.execute(update(Round).where(*running).values(progress=told, heartbeat=clock(session)))

    def publish(self, version: str, queue: Sequence[str], predictions: Mapping[str, Sequence[Mark]]) -> None:
        """Write every task's prediction under the new version, and let the project's queue follow it."""
        try:
            client = self._client
        except Unauthorized as error:
            client = None
            self._notify(f"{error} {NO_KEY}")
        if client is None:
            return
        with self.workspace.db.read() as session:
            project = session.get_one(Project, self.project_id)
            schema = read_schema(project.label_config, self.settings.control)
            self.memory.texts.update(session, project, schema)
        place = {id: position for position, id in enumerate(queue)}
        payload = []
        for id, marks in predictions.items() if predictions else ((id, ()) for id in queue):
            text = self.memory.texts.by_task.get(int(id))
            if text is not None and text.document is not None:
                score = score_at(place[id], len(queue)) if id in place else 1.0
                payload.append(prediction(int(id), result_of(schema, text.document, marks), score, version))
        if payload:  # a project may have no task yet
            publish(client, project.external_id, version, payload)
        self._notify(None)

    def take_back(self, version: str) -> None:
        """Delete a replaced version's predictions in Label Studio, which answers others slowly meanwhile."""
        if (client := self._client) is not None:
            clean_up(client, self._external_id(), {version, UNTRAINED}, keep=set())

    @cached_property
    def _client(self) -> LabelStudio | None:
        with self.workspace.db.read() as session:
            lent = session.get_one(Project, self.project_id).connection
        return connect(self.workspace.settings, lent)

    def snapshot(self) -> Collected:
        """What the database holds, without asking Label Studio."""
        with self.workspace.db.read() as session:
            project = session.get_one(Project, self.project_id)
            schema = read_schema(project.label_config, self.settings.control)
            revision = project.revision
            tasks = self.memory.texts.update(session, project, schema)
            by_task: dict[int, list[AnnotationRecord]] = {}
            for record in _annotations(session, project):
                by_task.setdefault(record.task_id, []).append(record)
        annotated = {id: annotation for id, records in by_task.items() if (annotation := chosen(records))}
        truths = {id for id, _ in tasks if id in annotated and annotated[id].ground_truth}
        if 2 * len(truths) > sum(id in annotated for id, _ in tasks):
            truths = set()  # Label Studio marks every imported annotation so: then it singles out nothing
        collected = Collected([], [], [], [], [], revision, schema.kinds)
        for id, draw in tasks:
            evaluated = id in truths or draw < self.settings.holdout_share
            self._place(id, annotated.get(id), evaluated, schema, collected)
        for problem in collected.problems[:20]:
            log.warning("project %s: %s", project.key, problem)
        return collected

    def _place(
        self, id: int, annotation: AnnotationRecord | None, evaluated: bool, schema: Schema, collected: Collected
    ) -> None:
        """Put a task's sentence into the list it belongs to."""
        text = self.memory.texts.by_task[id]
        if text.document is None or text.sentence is None:
            collected.problems.append(text.problem)
            return
        sentence = text.sentence
        if annotation is None:
            (collected.holdout_pool if evaluated else collected.pool).append(sentence)
            return
        labels, problems = labels_of(schema, text.document, annotation.result, id)
        sentence = labels.on(sentence)
        collected.problems.extend([*problems, *(encode(sentence).problems if sentence.spans is not None else ())])
        if not any(label is not None for label in labels):
            collected.problems.append(
                f"Task {id}: its annotation makes no choice, where the label config asks for one: nothing is learned "
                "from it. Choose one, or skip the task."
            )
            return
        (collected.holdout if evaluated else collected.labelled).append(sentence)

    def _external_id(self) -> int:
        with self.workspace.db.read() as session:
            return session.get_one(Project, self.project_id).external_id

    def _notify(self, notice: str | None) -> None:
        with self.workspace.db.write() as session:
            session.get_one(Project, self.project_id).notice = notice


def _annotations(session: Session, project: Project) -> Iterator[AnnotationRecord]:
    columns = [getattr(Annotation, column.name) for column in fields(AnnotationRecord)]
    for row in session.execute(select(*columns).where(Annotation.project_id == project.id, ~Annotation.deleted)):
        yield AnnotationRecord(*row)
