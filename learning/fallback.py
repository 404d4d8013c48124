"""When a model cannot be loaded: an older one tags meanwhile, people are told, and the next round makes a new one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from learning.database import Database, Project, Round
from learning.intake import mark_due
from learning.models import ModelStore
from taggers import Damaged, Tagger

log = logging.getLogger("active_tagger")

REASON = "the model's files are damaged"
"""Of the round that makes a new one."""
UNUSABLE = (ValueError, OSError)
"""What loading raises: Damaged is one, but what else a model needs, such as an encoder, may be out of reach as well."""


def model_or_older(db: Database, models: ModelStore, project_id: int, version: str) -> Tagger | None:
    """The model of this version, else of the newest older one that can be loaded, else None.

    That the first cannot be loaded is told in the project's notice; where its files are damaged, a round that trains a
    new one is due, once.
    """
    try:
        return models.load(project_id, version)
    except UNUSABLE as error:
        try:
            _report(db, project_id, version, error)
        except SQLAlchemyError as fault:  # a full disk: answers do not wait for it
            log.warning("project %s: %s (which cannot be written down: %s)", project_id, error, fault)
    for older in _older(db, models, project_id, version):
        try:
            return models.load(project_id, older)
        except UNUSABLE:  # told of already, as far as it matters
            continue
    return None


def _older(db: Database, models: ModelStore, project_id: int, version: str) -> Iterator[str]:
    stored = models.versions(project_id)
    of_project = select(Round.version).where(Round.project_id == project_id, Round.kind == "fit")
    this = select(Round.number).where(Round.project_id == project_id, Round.version == version).scalar_subquery()
    with db.read() as session:
        versions = session.scalars(of_project.where(Round.number < this).order_by(Round.number.desc())).all()
    return (older for older in versions if older in stored)


def _report(db: Database, project_id: int, version: str, error: Exception) -> None:
    """Tell people, and ask for a round if that can help: each once, whatever number of requests find the damage. Not
    while a round is under way, which may bring what helps, nor of a version that has just been replaced and deleted."""
    notice = f"{error}. Meanwhile texts that are not ranked yet are tagged by an older model, if there is one."
    with db.read() as session:  # the usual case, all is said, takes no lock
        project = session.get_one(Project, project_id)
        if _passes(session, project, version) or (project.notice == notice and not _helps(session, project, error)):
            return
    with db.write() as session:
        project = session.get_one(Project, project_id)
        project.notice = notice
        if _helps(session, project, error):
            mark_due(project, "fit", REASON)
    log.error("project %s: %s", project.key, error)


def _passes(session: Session, project: Project, version: str) -> bool:
    under_way = select(Round.id).where(Round.project_id == project.id, Round.state.in_(("running", "publishing")))
    used = select(Round.model_round_id).where(Round.id == project.current_round_id).scalar_subquery()
    in_use = session.scalar(select(Round.version).where(Round.id == used))
    return in_use != version or session.scalar(under_way.limit(1)) is not None


def _helps(session: Session, project: Project, error: Exception) -> bool:
    """Whether a round is to be asked for: not if another model is due anyway, and a second time only after a new model
    was damaged, too, for what has failed once would fail for ever."""
    if not isinstance(error, Damaged) or project.due in ("fit", "successor") or project.due_model is not None:
        return False
    current = select(Round.number).where(Round.id == project.current_round_id).scalar_subquery()
    asked = select(Round.id).where(Round.project_id == project.id, Round.reason == REASON, Round.number > current)
    return session.scalar(asked.limit(1)) is None
