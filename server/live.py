"""A live Label Studio project as the loop's venue: the database kept in step with the API, and the queue published."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from sqlalchemy import select

from corpus import Sentence, Span
from corpus.tags import encode
from labelstudio.client import LabelStudio, LabelStudioError, Unauthorized, Unreachable
from labelstudio.documents import BadTask, Document, document
from labelstudio.publish import clean_up, publish, score_at
from labelstudio.records import AnnotationRecord
from labelstudio.results import chosen, prediction, result_of, spans_of
from labelstudio.schema import Schema, read_schema
from learning.database import Annotation, Project, Task
from learning.intake import delete_annotations, delete_tasks, put_annotations, put_tasks
from learning.serving import UNTRAINED
from learning.settings import ProjectSettings
from learning.venue import Collected
from learning.workspace import Workspace

log = logging.getLogger("active_tagger")

NO_KEY = (
    "Label Studio is not told the order: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY (in Label Studio: Account & "
    "Settings → Personal Access Token). Until then this backend pre-annotates and scores only what it is asked for."
)


class LiveVenue:
    """One project. Without a working API key it lives on webhooks alone, and says so in the project's notice."""

    def __init__(self, workspace: Workspace, project_id: int, settings: ProjectSettings) -> None:
        self.workspace = workspace
        self.project_id = project_id
        self.settings = settings

    def collect(self) -> Collected:
        """Reconcile with Label Studio where it can be reached, then read everything from the database."""
        try:
            client = self._client()
            if client is not None:
                self._reconcile(client)
            self._notify(None if client else NO_KEY)
        except LabelStudioError as error:
            self._notify(f"{error} Learning goes on with what is known.")
        return self._snapshot()

    def publish(self, version: str, queue: Sequence[str], predictions: Mapping[str, Sequence[Span]]) -> None:
        """Write every task's prediction under the new version, then let the project's queue follow it."""
        try:
            client = self._client()
        except Unauthorized as error:
            client = None
            self._notify(f"{error} {NO_KEY}")
        if client is None:
            return
        schema, documents = self._documents()
        place = {id: position for position, id in enumerate(queue)}
        payload = []
        for id, spans in predictions.items() if predictions else ((id, ()) for id in queue):
            if (doc := documents.get(int(id))) is not None:
                score = score_at(place[id], len(queue)) if id in place else 1.0
                payload.append(prediction(int(id), result_of(schema, doc, spans), score, version))
        publish(client, self._external_id(), version, payload)
        self._notify(None)

    def take_back(self, version: str) -> None:
        """Delete a replaced version's predictions in Label Studio, which answers others slowly meanwhile."""
        if (client := self._client()) is not None:
            clean_up(client, self._external_id(), {version, UNTRAINED}, keep=set())

    def _client(self) -> LabelStudio | None:
        """A client whose token works, our own settings first; None without one.

        Our key goes only to our own LABEL_STUDIO_URL, never to an address that a request names.
        """
        settings = self.workspace.settings
        if settings.label_studio_url and settings.label_studio_api_key:
            client = LabelStudio(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())
            client.check()
            return client
        with self.workspace.db.read() as session:
            lent = session.get_one(Project, self.project_id).connection
        url, token = settings.label_studio_url or lent.get("hostname"), lent.get("access_token")
        if not url or not token:
            return None
        try:
            client = LabelStudio(url, token)
            client.check()
        except (Unauthorized, Unreachable) as error:
            log.info("the token that Label Studio lent does not serve: %s", error)
            return None
        return client

    def _reconcile(self, client: LabelStudio) -> None:
        """Bring the database in step: tasks from before connecting, missed events, deletions, a new label config."""
        with self.workspace.db.read() as session:
            project = session.get_one(Project, self.project_id)
            before, external_id = project.revision, project.external_id
            known_tasks = set(session.scalars(select(Task.id).where(Task.project_id == project.id)))
        remote = client.project(external_id)
        tasks = list(client.tasks(external_id))
        annotations = [annotation for task in tasks for annotation in task.annotations]
        seen_tasks, seen_annotations = {task.id for task in tasks}, {annotation.id for annotation in annotations}
        with self.workspace.db.write() as session:
            project = session.get_one(Project, self.project_id)
            if remote.label_config != project.label_config:
                project.label_config = remote.label_config
            put_tasks(session, project, tasks, self.settings.seed)
            put_annotations(session, project, annotations)
            # What came by webhook while the list was read is not missing from it.
            settled = Task.revision <= before
            gone = session.scalars(select(Task.id).where(Task.project_id == project.id, settled)).all()
            if lost := (set(gone) & known_tasks) - seen_tasks:
                delete_tasks(session, project, lost)
            standing = session.scalars(
                select(Annotation.id).where(
                    Annotation.project_id == project.id, Annotation.revision <= before, ~Annotation.deleted
                )
            )
            if removed := set(standing) - seen_annotations:
                delete_annotations(session, project, removed)

    def _snapshot(self) -> Collected:
        with self.workspace.db.read() as session:
            project = session.get_one(Project, self.project_id)
            schema = read_schema(project.label_config, self.settings.control)
            revision = project.revision
            tasks = session.scalars(select(Task).where(Task.project_id == project.id).order_by(Task.id)).all()
            by_task: dict[int, list[AnnotationRecord]] = {}
            for row in session.scalars(
                select(Annotation).where(Annotation.project_id == project.id, ~Annotation.deleted)
            ):
                by_task.setdefault(row.task_id, []).append(_record(row))
        annotated = {task.id: chosen(by_task.get(task.id, [])) for task in tasks}
        truths = {id for id, annotation in annotated.items() if annotation and annotation.ground_truth}
        if 2 * len(truths) > sum(annotation is not None for annotation in annotated.values()):
            truths = set()  # Label Studio marks every imported annotation so: then it singles out nothing
        collected = Collected([], [], [], [], [], revision)
        for task in tasks:
            evaluated = task.id in truths or task.draw < self.settings.holdout_share
            self._place(task, annotated[task.id], evaluated, schema, collected)
        for problem in collected.problems[:20]:
            log.warning("project %s: %s", project.key, problem)
        return collected

    def _place(
        self, task: Task, annotation: AnnotationRecord | None, evaluated: bool, schema: Schema, collected: Collected
    ) -> None:
        """Put a task's sentence into the list it belongs to."""
        try:
            doc = document(schema, task.data)
        except BadTask as error:
            collected.problems.append(f"task {task.id}: {error}")
            return
        sentence = Sentence.from_text(str(task.id), doc.text)
        if annotation is None:
            (collected.holdout_pool if evaluated else collected.pool).append(sentence)
            return
        spans, problems = spans_of(schema, doc, annotation.result, task.id)
        sentence = sentence.labelled(spans)
        collected.problems.extend([*problems, *encode(sentence).problems])
        (collected.holdout if evaluated else collected.labelled).append(sentence)

    def _documents(self) -> tuple[Schema, dict[int, Document]]:
        with self.workspace.db.read() as session:
            project = session.get_one(Project, self.project_id)
            schema = read_schema(project.label_config, self.settings.control)
            tasks = session.scalars(select(Task).where(Task.project_id == project.id)).all()
        documents = {}
        for task in tasks:
            try:
                documents[task.id] = document(schema, task.data)
            except BadTask:
                continue  # told when it was collected
        return schema, documents

    def _external_id(self) -> int:
        with self.workspace.db.read() as session:
            return session.get_one(Project, self.project_id).external_id

    def _notify(self, notice: str | None) -> None:
        with self.workspace.db.write() as session:
            session.get_one(Project, self.project_id).notice = notice


def _record(row: Annotation) -> AnnotationRecord:
    return AnnotationRecord(
        id=row.id,
        task_id=row.task_id,
        result=row.result,
        updated_at=row.updated_at,
        cancelled=row.cancelled,
        ground_truth=row.ground_truth,
        completed_by=row.completed_by,
    )
