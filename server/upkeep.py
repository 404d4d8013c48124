"""What the trainer sees to besides rounds: every few minutes each project is compared with Label Studio."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime

from sqlalchemy import func, select

from labelstudio.client import LabelStudio, LabelStudioError
from labelstudio.events import project_key
from learning.context import working_on
from learning.database import Project, Round, Task, clock
from learning.intake import check_triggers, mark_due
from learning.workspace import Workspace
from server.connection import connect
from server.reconcile import reconcile
from server.webhooks import secure

log = logging.getLogger("active_tagger")

AGAIN = 30.0
"""Seconds until the next try, at the most, after one that did not go well: Label Studio may have been starting."""
WHOLE_EVERY = 3600.0
"""Seconds after which everything is compared, not only what has changed: what Label Studio told of, and was killed
before it stored it, shows in no list of changes."""
MEANWHILE = "What people annotate meanwhile is taken over when it answers again."
"""Ends the notices that are given here, and so tells which of a project's notices are to be taken back."""


class Upkeep:
    """Finds what no webhook told of, also where no round is due. `look` is called often, the work has its own thread.

    Rounds compare for themselves, in their own process: both may happen at once (`server.reconcile`). This thread holds
    the database's lock for moments only, and waits for Label Studio without it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._compared: dict[int, tuple[datetime, float]] = {}
        """By project: Label Studio's time up to which everything is known, and when all of it was last read."""
        self._next = 0.0
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin if it is time and none is under way; returns at once."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = time.monotonic() + self.workspace.settings.reconcile_every
        self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            whole = self.compare_all()
        except Exception:
            log.exception("nothing is compared with Label Studio")
            whole = False
        if not whole:
            self._next = min(self._next, time.monotonic() + AGAIN)

    def compare_all(self) -> bool:
        """Every project, one after another, and whether all went well: the others do not wait for one that does not."""
        with self.workspace.db.read() as session:
            projects = session.scalars(select(Project).order_by(Project.touched_at.desc())).all()
        whole = True
        for project in projects:
            with working_on(project=project.key):
                try:
                    self._see_to(project)
                except LabelStudioError as error:
                    whole = False
                    log.warning("project %s: not compared with Label Studio: %s", project.key, error)
                    self._notify(project.id, f"{error} {MEANWHILE}")
                except Exception:
                    whole = False
                    log.exception("project %s: not compared with Label Studio", project.key)
        return whole

    def _see_to(self, project: Project) -> None:
        client = connect(self.workspace.settings, project.connection)
        if client is None:
            return
        try:
            remote = client.project(project.external_id)
            there = project_key({"id": remote.id, "created_at": remote.created_at})
            if "." in project.key and there != project.key:
                return  # this project is gone, and its number was given to another one
            self._compare(client, project.id)
            self._notify(project.id, None)
            if secure(client, project.external_id, self.workspace.settings):
                log.info("project %s: its webhook now sends the secret that belongs to the password", project.key)
        finally:
            client.close()

    def _compare(self, client: LabelStudio, project_id: int) -> None:
        """Take over what differs, and ask for the round that it makes due."""
        with self.workspace.db.read() as session:
            before = session.get_one(Project, project_id)
        settings, _ = self.workspace.settings.in_force(before.extra_params)
        since, whole = self._compared.pop(project_id, (None, 0.0))  # a failure in between: all again
        if since is None or time.monotonic() - whole >= WHOLE_EVERY:
            since, whole = None, time.monotonic()
        latest = reconcile(self.workspace.db, client, project_id, settings.seed, since)
        if latest is not None:
            self._compared[project_id] = latest, whole
        with self.workspace.db.write() as session:
            project = session.get_one(Project, project_id)
            if project.revision != before.revision:
                project.touched_at = clock(session)
            if project.label_config != before.label_config:
                mark_due(project, "fit", "the label config has changed")
            ranked = select(func.max(Round.revision)).where(Round.project_id == project_id).scalar_subquery()
            if session.scalar(select(Task.id).where(Task.project_id == project_id, Task.revision > ranked).limit(1)):
                mark_due(project, "rank", "new or changed tasks")
            check_triggers(session, project, settings)

    def _notify(self, project_id: int, notice: str | None) -> None:
        """Say what stands in the way, or take back what was said here."""
        with self.workspace.db.read() as session:
            said = session.get_one(Project, project_id).notice or ""
        if notice != said and (notice or said.endswith(MEANWHILE)):
            with self.workspace.db.write() as session:
                session.get_one(Project, project_id).notice = notice
