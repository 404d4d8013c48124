"""Rounds in the database: claimed, run, stored in one transaction, published, and recovered when a process dies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.orm import Session

from learning import batches, history
from learning.database import Base, Database, Prediction, Project, Round, clock, text_hash
from learning.intake import check_triggers, mark_due
from learning.marks import as_json, from_json
from learning.models import ModelStore
from learning.owners import HEARTBEAT_LIMIT, alive, is_here, is_of, owner
from learning.queue import Ordered, cold_order, order
from learning.readers import Readers
from learning.recorder import Recorder, TakenForDead
from learning.settings import ProjectSettings
from learning.training import Model, known_marks, model_of
from learning.venue import Collected, Venue

LONGEST_WAIT = timedelta(minutes=10)
KILLED = "the training process was killed (out of memory?)"
LOST = "the machine that ran this is lost, or could not reach the database"
STOPPED = "the trainer was stopped while this was being published; it goes on when it is started again"
TRAINED = ("fit", "acquisition")
"""The kinds of rounds that learn from what people have labelled since."""


def claim(db: Database, project_id: int) -> int | None:
    """Begin the round that is due; its id, or None if none is due, another one is running, or people
    asked for a pause.

    The due mark is taken off in the same transaction: what arrives from here on makes the next round due.
    """
    with db.write() as session:
        project = session.get_one(Project, project_id)
        busy = session.scalar(_under_way().where(Round.project_id == project_id))
        if project.due is None or project.paused or busy is not None:
            return None
        session.execute(
            update(Round)
            .where(Round.project_id == project_id, Round.state == "publishing")
            .values(state="superseded", finished_at=clock(session))
        )
        number = 1 + (session.scalar(select(func.max(Round.number)).where(Round.project_id == project_id)) or 0)
        started = clock(session)
        begun = Round(
            project_id=project_id,
            number=number,
            version=f"v{number}-{started:%Y%m%d-%H%M%S}",
            kind=project.due,
            state="running",
            reason=project.due_reason or "",
            owner=owner(),
            heartbeat=started,
            started_at=started,
            revision=project.revision,
            model_round_id=project.due_model,
        )
        session.add(begun)
        project.due = project.due_reason = project.due_model = None
        session.flush()
        return begun.id


def run(db: Database, models: ModelStore, round_id: int, venue: Venue, settings: ProjectSettings) -> None:
    """Collect, fit or load a model, evaluate, rank, and store the result; the round is then ready to publish."""
    with db.read() as session:
        this = session.get_one(Round, round_id)
    on_step = Recorder(db, round_id)
    on_step("collect")
    collected = venue.collect()
    settings.check_for(collected.kinds)
    rng = np.random.default_rng([settings.seed, this.number])
    of_project = settings.of(*collected.kinds) if len(collected.kinds) == 1 else settings
    readers = Readers(of_project, models.shelf(this.project_id))
    model = model_of(db, models, this, collected, readers, rng, on_step)
    if model is None:
        kind, ordered = "cold start", cold_order(collected, settings, rng, on_step, readers)
    else:
        kind, known = model.kind, {}
        if model.ranks is not model.tags:
            on_step.insist("measure")
            known = known_marks(db, this, model, collected)
        ordered = order(model.ranks, collected, settings, rng, on_step, readers, model.tags, known)
    on_step.insist("store")
    with db.read() as session:
        batch = batches.last_batch(session, this, collected, ordered.predictions) if kind in TRAINED else None
    with db.write() as session:
        stored = session.get_one(Round, round_id)
        if stored.state != "running":
            raise TakenForDead(f"round {this.number} was taken for dead; another one does its work")
        stored.kind, stored.state, stored.heartbeat = kind, "publishing", clock(session)
        stored.model_round_id = model.round_id if model else None
        stored.settings = settings.model_dump(mode="json")
        stored.revision = collected.revision
        stored.problems = [*filter(None, [ordered.note]), *collected.problems[:100]]
        metrics = _metrics(collected, model, ordered, readers)
        if batch is not None:
            metrics["batch"] = batch.as_json(this.number)
        if kind == "fit":
            project = session.get_one(Project, this.project_id)
            metrics |= history.compared(session, project, collected, ordered.predictions)
        elif model:  # the model is an earlier round's, and so are its scores
            earlier = session.get_one(Round, model.round_id).metrics
            metrics |= {name: earlier.get(name) for name in ("evaluation", "also") if name in earlier}
        if kind == "acquisition":
            mark_due(session.get_one(Project, this.project_id), "successor", this.reason)
        _store_predictions(session, round_id, collected, ordered)
        stored.metrics = metrics | {"seconds": on_step.seconds()}


def take_up(db: Database, project_id: int) -> int | None:
    """Make ours the round that is to be published; its id, or None if there is none but what another process is at."""
    waiting = select(Round).where(Round.project_id == project_id, Round.state == "publishing")
    with db.read() as session:  # the usual case, nothing waits, takes no lock
        if not session.scalars(waiting).all():
            return None
    with db.write() as session:
        for this in session.scalars(waiting):
            if this.error is not None or is_of(this.owner):
                this.owner, this.heartbeat, this.error = owner(), clock(session), None
                return this.id
    return None


def publish(db: Database, models: ModelStore, round_id: int, venue: Venue, settings: ProjectSettings) -> None:
    """Deliver a stored round and make it the current one; can be repeated until it succeeds."""
    with db.write() as session:
        this = session.get_one(Round, round_id)
        this.owner, this.heartbeat, this.error, this.delivered = owner(), clock(session), None, True
        wanted = select(Prediction.task_id, Prediction.position, Prediction.spans)
        rows = session.execute(wanted.where(Prediction.round_id == round_id)).all()
    on_step = Recorder(db, round_id)
    on_step("publish", of=len(rows))
    queued = sorted((row for row in rows if row.position is not None), key=lambda row: row.position or 0)
    venue.publish(
        this.version,
        [str(row.task_id) for row in queued],
        {str(row.task_id): from_json(row.spans) for row in rows},
    )
    stored = models.stored(this.project_id)  # before another process may begin the project's next round, and store
    with db.write() as session:
        project = session.get_one(Project, this.project_id)
        delivered = session.get_one(Round, round_id)
        if delivered.state != "publishing" or not is_of(delivered.owner):
            raise TakenForDead(f"round {this.number} was taken for dead; another process publishes it")
        delivered.state, delivered.finished_at, delivered.error = "done", clock(session), None
        seconds = delivered.metrics.get("seconds", {}) | on_step.seconds()
        delivered.metrics = {**delivered.metrics, "seconds": seconds}
        project.current_round_id = round_id
        project.failures, project.retry_at = 0, None
        old = select(Round.id).where(Round.project_id == project.id, Round.id != round_id)
        session.execute(delete(Prediction).where(Prediction.round_id.in_(old)))
        check_triggers(session, project, settings)
        keep = _kept_versions(session, project, delivered, settings.keep_versions)
    models.prune(this.project_id, keep, stored)


def _kept_versions(session: Session, project: Project, current: Round, newest: int) -> set[str]:
    fitted = session.scalars(
        select(Round)
        .where(Round.project_id == project.id, Round.kind == "fit", Round.model_round_id == Round.id)
        .order_by(Round.number.desc())
        .limit(newest)
    )
    keep = {round.version for round in fitted}
    if current.model_round_id is not None:
        keep.add(session.get_one(Round, current.model_round_id).version)
    return keep


def fail(db: Database, round_id: int, error: str, *, transient: bool) -> None:
    """Record that a round failed. A transient failure is tried again, after a wait that doubles each time."""
    with db.write() as session:
        this = session.get_one(Round, round_id)
        if this.state not in ("running", "publishing") or not is_of(this.owner):
            return  # it was taken for dead meanwhile, and its work is another round's, or another process's
        project = session.get_one(Project, this.project_id)
        project.failures += 1
        this.error = error
        project.retry_at = clock(session) + _wait(project.failures)
        if this.state == "running":
            this.state, this.finished_at = "failed", clock(session)
            if transient:
                mark_due(project, this.kind, this.reason, this.model_round_id)
        # A round that could not be published stays "publishing": the trainer comes back to it.


def interrupt_dead(db: Database) -> list[int]:
    """Find rounds whose process is gone; their ids. A running one is marked interrupted and its project due again,
    a publishing one is free to be published again: at once the first time, later after a wait that doubles.

    A sign of life from the future, where the clock was set back since, counts as one of now.
    """
    with db.read() as session:  # the usual case, nothing dead, takes no lock
        at = clock(session)
        under_way = session.scalars(_under_way()).all()
    if all(alive(this, at) and not _is_ahead(this, at) for this in under_way):
        return []
    with db.write() as session:
        at = clock(session)
        under_way = session.scalars(_under_way()).all()
        for early in under_way:
            if _is_ahead(early, at):
                early.heartbeat = at
        dead = [this for this in under_way if not alive(this, at)]
        for this in dead:
            project = session.get_one(Project, this.project_id)
            project.failures += 1
            again = project.failures > 1
            project.retry_at = at + _wait(project.failures - 2) if again else None
            this.error = KILLED if is_here(this.owner) else LOST
            this.error += f"; {project.failures} failures in a row" if again else ""
            _interrupt(project, this, at)
        return [this.id for this in dead]


def give_back(db: Database, owners: Collection[str]) -> list[int]:
    """Take note that these processes were told to end: what they were at is done again, and has not failed."""
    with db.write() as session:
        given = session.scalars(_under_way().where(Round.owner.in_(owners))).all()
        for this in given:
            this.error = STOPPED if this.state == "publishing" else None
            _interrupt(session.get_one(Project, this.project_id), this, clock(session))
        return [this.id for this in given]


def _interrupt(project: Project, this: Round, at: datetime) -> None:
    """One that was publishing stays so: with its error, it waits for another try."""
    if this.state == "running":
        this.state, this.finished_at = "interrupted", at
        mark_due(project, this.kind, this.reason, this.model_round_id)


def _wait(failures: int) -> timedelta:
    return min(LONGEST_WAIT, timedelta(seconds=5 * 2 ** min(failures, 10)))


def _under_way() -> Select[Round]:
    """Rounds that a process is running or publishing; one whose publishing failed waits for another try."""
    return select(Round).where((Round.state == "running") | ((Round.state == "publishing") & Round.error.is_(None)))


def _is_ahead(this: Round, at: datetime) -> bool:
    """Whether its last sign of life is yet to come: the clock was set back since."""
    return this.heartbeat > at + HEARTBEAT_LIMIT


def beat(db: Database, pid: int | None = None) -> str | None:
    """A sign of life of what this process, or another one of this machine, is at; "running", "publishing", or None if
    it is at nothing."""
    with db.read() as session:
        mine = [this.id for this in session.scalars(_under_way()) if is_of(this.owner, pid)]
    if not mine:
        return None
    with db.write() as session:
        of_those = _under_way().with_only_columns(Round.id).where(Round.id.in_(mine))
        beaten = update(Round).where(Round.id.in_(of_those)).values(heartbeat=clock(session))
        return session.scalar(beaten.returning(Round.state))


def ready(db: Database, pause: timedelta) -> Sequence[int]:
    """Projects with something to do now: a round due (unless people asked for a pause), one to publish again, or old
    versions to take back while nobody has been at work for at least `pause`."""
    with db.read() as session:
        at = clock(session)
        busy = _under_way().with_only_columns(Round.project_id)
        waiting = select(Round.project_id).where(Round.state == "publishing", Round.error.is_not(None))
        at_rest = (Project.touched_at < at - pause) & Project.id.in_(_outdated())
        return session.scalars(
            select(Project.id).where(
                (Project.due.is_not(None) & ~Project.paused) | Project.id.in_(waiting) | at_rest,
                # One that lies further ahead than any wait is from before the clock was set back.
                Project.retry_at.is_(None) | ~Project.retry_at.between(at, at + LONGEST_WAIT),
                Project.id.not_in(busy),
            )
        ).all()


def outdated(db: Database, project_id: int, pause: timedelta) -> list[Round]:
    """Delivered versions that another one has replaced; none while people are at work or a round waits."""
    with db.read() as session:
        project = session.get_one(Project, project_id)
        if project.due is not None or project.touched_at >= clock(session) - pause:
            return []
        return list(session.scalars(select(Round).where(Round.project_id == project_id, Round.id.in_(_outdated("id")))))


def _outdated(column: str = "project_id") -> Select[int]:
    return (
        select(getattr(Round, column))
        .join(Project, Project.id == Round.project_id)
        .where(Round.delivered, Round.state.not_in(["running", "publishing"]), Round.id != Project.current_round_id)
    )


def taken_back(db: Database, round_id: int) -> None:
    """Note that the venue holds nothing of this round any more."""
    with db.write() as session:
        session.get_one(Round, round_id).delivered = False


def rollback(db: Database, models: ModelStore, project_id: int, version: str) -> None:
    """Ask for a round that ranks with an earlier model, which then is the current one.

    Raises ValueError, with the versions that can be used, if `version` has no stored model.
    """
    stored = models.versions(project_id)
    with db.write() as session:
        project = session.get_one(Project, project_id)
        wanted = session.scalar(select(Round).where(Round.project_id == project_id, Round.version == version))
        if wanted is None or version not in stored:
            raise ValueError(f"no model {version!r} is stored; stored: {', '.join(sorted(stored)) or 'none'}")
        project.due, project.due_reason, project.due_model = "rank", f"roll back to {version}", wanted.id


def _store_predictions(session: Session, round_id: int, collected: Collected, ordered: Ordered) -> None:
    place = {queued.id: (position, queued) for position, queued in enumerate(ordered.queue)}
    held_out = {sentence.id for sentence in (*collected.holdout, *collected.holdout_pool)}
    rows = []
    for sentence in collected.sentences():
        position, queued = place.get(sentence.id, (None, None))
        rows.append(
            {
                "round_id": round_id,
                "task_id": int(sentence.id),
                "text_hash": text_hash(sentence.text),
                "words": len(sentence),
                "spans": as_json(ordered.predictions.get(sentence.id, [])),
                "position": position,
                "priority": queued.priority if queued and np.isfinite(queued.priority or 0) else None,
                "holdout": sentence.id in held_out,
            }
        )
    if rows:
        table = Base.metadata.tables[Prediction.__tablename__]  # by the class it would take twice as long
        session.execute(insert(table), rows)


def _metrics(collected: Collected, model: Model | None, ordered: Ordered, readers: Readers) -> dict[str, Any]:
    labelled = [*collected.labelled, *collected.holdout]
    return {
        "strategy": ordered.strategy,
        "ranked_by": model.ranks.name if model else None,
        "train_sentences": len(collected.labelled),
        "holdout_sentences": len(collected.holdout),
        "labelled_words": sum(len(sentence) for sentence in labelled),
        "pool_sentences": len(collected.pool) + len(collected.holdout_pool),
        **(model.evaluation.as_json() if model and model.evaluation else {"evaluation": None}),
        **({"adaptation": readers.adaptation} if readers.adaptation else {}),
    }
