"""The ML-backend class: what Label Studio sends is written down, what it asks is answered from the current version.

No training happens here. `fit` marks a round as due; the trainer (`python -m server.trainer`) takes it from there.
"""

from __future__ import annotations

import json
import logging
from functools import cache, partial
from typing import Any

from label_studio_ml.model import LabelStudioMLBase
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from labelstudio.documents import BadTask, Document, document
from labelstudio.errors import LabelStudioError
from labelstudio.events import BadRecord, Event, id_of, project_of_setup, read_event, record_of_task
from labelstudio.publish import score_at
from labelstudio.records import TaskRecord, storable
from labelstudio.remote import addresses_in, in_place, library
from labelstudio.results import result_of
from labelstudio.schema import Schema, kinds_of, read_schema
from learning.context import set_about
from learning.database import Project, clock
from learning.intake import (
    check_triggers,
    delete_annotations,
    delete_tasks,
    find_project,
    mark_due,
    put_annotations,
    put_tasks,
    unknown,
)
from learning.remote_texts import Kept, fetch_missing, look_up
from learning.serving import UNTRAINED, Answer, Answers, Current, answer, find_current
from learning.settings import DECIDE_THE_MODEL, ProjectSettings, Settings, as_dict
from learning.workspace import Workspace

log = logging.getLogger("active_tagger")

PATIENCE = 5.0
"""Seconds in which a request for predictions fetches texts that are named by address."""


@cache
def open_workspace() -> Workspace:
    """The workspace of this process, by the settings of its environment."""
    return Workspace(Settings())


class ActiveTagger(LabelStudioMLBase):
    """A model that learns while people annotate, and orders their queue.

    Works in our own server and in the server of label-studio-ml 2.x: `project_id` is the whole key
    "<id>.<created>" or the bare id. One instance a request, all state in the workspace.
    """

    def __init__(
        self,
        project_id: str | None = None,
        label_config: str | None = None,
        *,
        workspace: Workspace | None = None,
        **_: Any,
    ) -> None:
        self.workspace = workspace or open_workspace()
        self.key = str(project_id or "")
        set_about(project=self.key)
        self.config = label_config
        self._seen: Current | None = None
        super().__init__(project_id=project_id, label_config=None)
        if self.key and self._seen is None:  # label-studio-ml 2.x has set it up already
            self.setup()

    def setup(self) -> None:
        """Make the project known, or take over its changed label config.

        Raises UnsupportedConfig (a ValueError), with the remedy, for a config with nothing to learn.
        """
        if not self.key or self.config is None:
            return
        self._seen = self._look()
        if self._seen is None or self._seen.project.label_config != self.config:
            self._introduce(self.config)
            self._seen = self._look()
        if self._seen and hasattr(self, "set"):  # label-studio-ml 2.x answers /setup from there
            self.set("model_version", self._seen.version)

    def _introduce(self, config: str) -> None:
        """Write down a new project, or a known one's new label config."""
        with self.workspace.db.write() as session:
            project = find_project(session, self.key)
            settings = self._settings(project) if project else self.workspace.settings
            read_schema(config, settings.control)
            if project is None:
                project = Project(
                    key=self.key,
                    external_id=project_of_setup(self.key),
                    label_config=config,
                    connection={},
                    extra_params={},
                )
                session.add(project)
                mark_due(project, "rank", "connected")
            elif project.label_config != config:
                project.label_config = config
                project.revision += 1
                mark_due(project, "fit", "the label config has changed")

    def connect(self, hostname: str, access_token: str) -> None:
        """Remember where Label Studio says it is, and the token it lends: a best effort beside our own settings."""
        ours = self.workspace.settings.label_studio_url and self.workspace.settings.label_studio_api_key
        told = {"hostname": hostname, "access_token": "" if ours else access_token}  # no secret without need
        with self.workspace.db.read() as session:  # asked before every prediction: the usual case waits for no writer
            if self._project(session).connection == told:
                return
        with self.workspace.db.write() as session:
            self._project(session).connection = told

    def set_extra_params(self, extra_params: dict[str, Any] | str | None) -> None:
        """Take over a project's own settings, typed into the connection form.

        Raises ValueError, in words for the person who typed them; the settings in force stay.
        """
        told = storable(as_dict(extra_params))
        _check_characters(told)
        wanted = self.workspace.settings.for_project(told)
        with self.workspace.db.read() as session:
            project = self._project(session)
        wanted.check_for(read_schema(project.label_config, wanted.control).kinds)
        if project.extra_params == told:
            return
        with self.workspace.db.write() as session:
            project = self._project(session)
            if project.extra_params != told:
                before = self._settings(project)
                learns_anew = any(
                    getattr(before, name) != getattr(wanted, name)
                    for name in (*DECIDE_THE_MODEL, "acquisition", "acquisition_options")
                )
                project.extra_params, project.notice = told, None
                mark_due(project, "fit" if learns_anew else "rank", "the settings have changed")

    @property
    def version(self) -> str:
        """The version that answers at present."""
        seen = self._look()
        return seen.version if seen else UNTRAINED

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Marks, score (ascending: label sooner) and version for each task; one result per task, same order, always.

        A task whose text cannot be read gets an empty result with the highest score, and a line in the log.
        """
        records = [record for task in tasks if (record := _record(task)) is not None]
        seen = self._seen or self._look()  # one instance a request: `setup` has just looked
        if seen is None:
            raise self._unknown()
        settings = self._settings(seen.project)
        with self.workspace.db.read() as session:  # which never waits for a writer
            news = unknown(session, seen.project, records)
        if news:  # without an API key, the way to know them
            try:
                self._take_over(news, settings)
            except OperationalError:  # they come again; answered are they all the same
                log.exception("project %s: %s new tasks could not be written down", self.key, len(news))
            seen = self._look() or seen  # a round may have been published while this waited to write
        schema = read_schema(self.config or seen.project.label_config, settings.control)
        fetched = self._fetched(seen.project, schema, records)
        documents = {i: doc for i, task in enumerate(tasks) if (doc := _read(schema, task, fetched)) is not None}
        answers = answer(self.workspace, seen, [(_id(tasks[i]), doc.text) for i, doc in documents.items()])
        found = {
            i: _result(schema, doc, item, answers)
            for (i, doc), item in zip(documents.items(), answers.items, strict=True)
        }
        unreadable = {"result": [], "score": 1.0, "model_version": answers.version}
        return [found.get(i, unreadable) for i in range(len(tasks))]

    def _take_over(self, news: list[TaskRecord], settings: ProjectSettings) -> None:
        with self.workspace.db.write() as session:
            project = self._project(session)
            put_tasks(session, project, news, settings.seed)
            if put_annotations(session, project, [annotation for task in news for annotation in task.annotations]):
                check_triggers(session, project, settings)

    def _fetched(self, project: Project, schema: Schema, tasks: list[TaskRecord]) -> Kept:
        """The texts that tasks name by address; somebody waits, so for what takes long there is none yet."""
        db, reasons = self.workspace.db, {}
        addresses = addresses_in(schema, (task.data for task in tasks))
        if addresses:
            try:
                load = library(self.workspace.settings, project.connection, project.external_id).load
                reasons = fetch_missing(db, project.id, addresses, load, seconds=PATIENCE)
            except (LabelStudioError, OperationalError) as error:
                log.warning("project %s: texts cannot be fetched: %s", self.key, error)
        with db.read() as session:
            return look_up(session, project.id, addresses, reasons)

    def fit(self, event: str, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Write down what has happened and, when a trigger is met, that a round is due. Returns at once.

        Raises BadEvent (a ValueError) for a payload that is not Label Studio's.
        """
        happened = read_event({**data, "action": event})
        with self.workspace.db.write() as session:
            project = self._project(session)
            project.touched_at = clock(session)
            _write_down(session, project, happened, self._settings(project))
            return {"due": project.due, "reason": project.due_reason}

    def _look(self) -> Current | None:
        with self.workspace.db.read() as session:
            return find_current(session, self.key)

    def _project(self, session: Session) -> Project:
        project = find_project(session, self.key)
        if project is None:
            raise self._unknown()
        return project

    def _unknown(self) -> LookupError:
        return LookupError(
            f"project {self.key!r} is not known here: connect this backend in the project's settings (Model)"
        )

    def _settings(self, project: Project) -> ProjectSettings:
        """The project's settings; the backend's own if they no longer fit, so that nothing that arrives is lost."""
        settings, fault = self.workspace.settings.in_force(
            project.extra_params, partial(kinds_of, project.label_config)
        )
        if fault:
            project.notice = fault
            log.warning("project %s: %s", project.key, fault)
        return settings


def _write_down(session: Session, project: Project, happened: Event, settings: ProjectSettings) -> None:
    if happened.tasks and put_tasks(session, project, happened.tasks, settings.seed):
        mark_due(project, "rank", "new or changed tasks")
    if happened.title:
        project.title = happened.title
    put_annotations(session, project, happened.annotations)
    if happened.deleted_annotations:
        delete_annotations(session, project, happened.deleted_annotations)
    if happened.deleted_tasks:
        delete_tasks(session, project, happened.deleted_tasks)
    if happened.label_config and happened.label_config != project.label_config:
        project.label_config = happened.label_config
        project.revision += 1
        mark_due(project, "fit", "the label config has changed")
    if happened.start_training:
        mark_due(project, "fit", "training was asked for")
        project.retry_at = None
    check_triggers(session, project, settings)


def _check_characters(told: dict[str, Any]) -> None:
    try:
        json.dumps(told, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("extra parameters of the connection hold half a character: type them anew") from None


def _record(task: Any) -> TaskRecord | None:
    """To be written down; None for what is not a whole task of Label Studio's, which is answered all the same."""
    try:
        record = record_of_task(task)
    except BadRecord as error:
        log.warning("%s", error)
        return None
    return record if record.created_at else None


def _id(task: Any) -> int:
    """Its id; of what has none, one that no task has."""
    try:
        return id_of(task, "task")
    except BadRecord:
        return -1


def _read(schema: Schema, task: Any, fetched: Kept) -> Document | None:
    if not isinstance(task, dict):
        return None
    data = task.get("data")
    try:
        texts, problems = fetched.texts, fetched.problems
        return document(schema, in_place(schema, data if isinstance(data, dict) else {}, texts, problems))
    except BadTask as error:
        log.warning("task %s: %s", _id(task), error)
        return None


def _result(schema: Schema, doc: Document, item: Answer, answers: Answers) -> dict[str, Any]:
    place = item.position
    return {
        "result": result_of(schema, doc, item.marks),
        "score": item.sureness if place is None else score_at(place, answers.queue_length),
        "model_version": answers.version,
    }
