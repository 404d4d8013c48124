"""The work of one job, in a process of its own: finish the round that waits, or run the one that is due."""

from __future__ import annotations

import logging
import os
import resource
import time
from contextlib import suppress
from datetime import timedelta
from functools import cache, partial

from sqlalchemy.exc import DBAPIError

from labelstudio.client import LabelStudioError
from labelstudio.schema import kinds_of
from learning import faults, review, rounds
from learning.context import set_about, working_on
from learning.database import Database, Project, Round, clock
from learning.processes import end_with_parent
from learning.recorder import TRY_AGAIN
from learning.settings import Settings
from learning.workspace import Workspace
from server.live import LiveVenue, Memory
from server.logs import set_up_logging

log = logging.getLogger("active_tagger")


@cache
def prepare() -> Workspace:
    """Once a process: settings, logging, a low priority so that requests are answered meanwhile."""
    end_with_parent()
    settings = Settings()
    set_up_logging(settings.log_level, settings.log_format)
    with suppress(OSError):
        os.nice(10)
    if settings.trainer_threads:  # read by torch, which a CRF never imports
        os.environ["OMP_NUM_THREADS"] = str(settings.trainer_threads)
    if settings.trainer_memory_gb:  # what is private and can be written to: code and files that are read do not count
        most = int(settings.trainer_memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    return Workspace(settings)


def warm_up() -> None:
    """Do what the first round would have to wait for: this module's imports, and those that are put off."""
    import label_studio_sdk.label_interface.interface  # noqa: F401

    _ = prepare().db


@cache
def memory(project_id: int) -> Memory:
    """What this process keeps of a project."""
    return Memory()


def work(project_id: int) -> None:
    """Run and publish what a project is waiting for. Every failure is recorded on its round, none is raised."""
    workspace = prepare()
    with working_on(project=project_id):
        try:
            _work(workspace, project_id)
        except DBAPIError:  # outside a round: nothing could be written down, nothing is lost
            log.exception("project %s: nothing can be begun or ended", project_id)
            time.sleep(TRY_AGAIN)


def _work(workspace: Workspace, project_id: int) -> None:
    db = workspace.db
    with db.read() as session:
        project = session.get_one(Project, project_id)
    set_about(project=project.key)
    settings, fault = workspace.settings.in_force(project.extra_params, partial(kinds_of, project.label_config))
    if fault:
        log.error("project %s: %s", project.key, fault)
    venue = LiveVenue(workspace, project_id, settings, memory(project_id))
    round_id = rounds.claim(db, project_id)
    if round_id is not None:
        _set_about_round(db, round_id)
        try:
            rounds.run(db, workspace.models, round_id, venue, settings)
        except Exception as error:
            log.exception("project %s: round %s failed", project.key, round_id)
            _fail(workspace, round_id, error, transient=isinstance(error, OSError) or bool(faults.known(error)))
            return
    round_id = rounds.take_up(db, project_id)
    if round_id is not None:
        _set_about_round(db, round_id)
        try:
            rounds.publish(db, workspace.models, round_id, venue, settings)
        except Exception as error:
            log.exception("project %s: round %s could not be published", project.key, round_id)
            _fail(workspace, round_id, error, transient=True)
            return
        review.look_closer(db, round_id, venue.snapshot, settings)
    _clean_up(workspace, project_id, venue)


def _set_about_round(db: Database, round_id: int) -> None:
    with db.read() as session:
        this = session.get_one(Round, round_id)
    set_about(round=this.number, version=this.version)


def _fail(workspace: Workspace, round_id: int, error: Exception, *, transient: bool) -> None:
    """Record that a round failed, as soon as that can be written: what hindered the round may hinder this too."""
    while True:
        try:
            return rounds.fail(workspace.db, round_id, _words(error, workspace.settings), transient=transient)
        except DBAPIError:
            log.exception("that round %s failed is not written down yet", round_id)
            time.sleep(TRY_AGAIN)


def _clean_up(workspace: Workspace, project_id: int, venue: LiveVenue) -> None:
    """Take old versions back, one by one, as long as nobody is at work."""
    pause = timedelta(seconds=workspace.settings.clean_up_pause)
    while old := rounds.outdated(workspace.db, project_id, pause):
        try:
            venue.take_back(old[0].version)
        except LabelStudioError as error:
            log.warning("version %s is not cleaned up yet: %s", old[0].version, error)
            with workspace.db.write() as session:  # try again after another pause
                session.get_one(Project, project_id).touched_at = clock(session)
            return
        rounds.taken_back(workspace.db, old[0].id)


def _words(error: Exception, settings: Settings) -> str:
    said = faults.known(error)
    if said == faults.NO_MEMORY and settings.trainer_memory_gb is not None:
        said = (
            f"more memory was needed than the {settings.trainer_memory_gb:g} GB that TRAINER_MEMORY_GB allows: "
            "raise it, or choose a smaller model with TAGGER"
        )
    return f"{type(error).__name__}: {said or error}"[:2_000]
