"""The top of a pool's order, imported into Label Studio with predictions: each row once, whatever breaks off."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update

from corpus import Mark, Sentence
from labelstudio.client import LabelStudio, LabelStudioError, Refused
from labelstudio.documents import BadTask, Document, document
from labelstudio.publish import score_at
from labelstudio.results import prediction, result_of
from labelstudio.schema import kinds_of, read_schema
from learning.database import Annotation, Project, Task
from learning.serving import find_current
from learning.steps import OnStep, silently
from learning.workspace import Workspace
from pools.folder import Pool, alone, canonical, replacing

if TYPE_CHECKING:  # which brings torch along
    from pools.ranking import Ranked

log = logging.getLogger("active_tagger")

BATCH = 250
"""Tasks in one import, which Label Studio takes two seconds for: annotators' submits wait for no more."""
REFUSED = 0
"""Stands in the place of a task's id for a row that Label Studio does not take: it is not tried again."""
TOLERATED = 10
"""Rows refused in one go. With more, it is the label config and the pool that do not fit."""
PATIENCE = 30.0
"""Seconds for which Label Studio may still be at an import whose caller is gone."""
PENDING = "pending.json"
"""What is being imported."""
MARK = "active_tagger"
"""Where in a task's `meta` its batch and row stand."""


def top_up(
    pool: Pool,
    workspace: Workspace,
    project_id: int,
    client: LabelStudio,
    *,
    keep: int,
    ranked: Ranked | None,
    on_step: OnStep = silently,
) -> int:
    """Import the next rows, so that `keep` unlabelled tasks wait in Label Studio; how many tasks were imported now.

    The next are those of `ranked` that were not imported yet, in its order, among them at random places as many of the
    pool's hold-out as its share says; without a model (None), any, at random. Rows whose data a task of the project has
    already are noted and passed over. May be broken off anywhere and repeated.

    Raises ValueError if another top-up of the same project is at work or too many rows are refused, LabelStudioError
    when Label Studio is not within reach: what was imported until then stays and is noted.
    """
    with workspace.db.read() as session:
        project = session.get_one(Project, project_id)
    refusal = f"another top-up from {pool.folder} into this project is at work"
    with alone(_beside(pool, project, "lock"), refusal):  # two at once would import the same rows
        topping = _Topping(pool, workspace, project, client)
        topping.settle(on_step)
        wanted = keep - client.unlabelled(project.external_id)
        done = 0
        on_step("import", done=done, of=max(wanted, 0))
        while done < wanted and len(rows := topping.next_rows(ranked, min(BATCH, wanted - done))):
            done += topping.deliver(rows, done, wanted)
            on_step("import", done=done, of=wanted)
        topping.draw_lots()
        return done


def unsettled(pool: Pool, project: Project) -> bool:
    """Whether a top-up was broken off before it could note what it has imported; the next one finds out."""
    return _beside(pool, project, PENDING).exists()


class _Topping:
    """One project's share of a pool."""

    def __init__(self, pool: Pool, workspace: Workspace, project: Project, client: LabelStudio) -> None:
        self.pool, self.workspace, self.project, self.client = pool, workspace, project, client
        kinds = partial(kinds_of, project.label_config)
        self.settings, _ = workspace.settings.in_force(project.extra_params, kinds)
        self.schema = read_schema(project.label_config, self.settings.control)
        if self.schema.remote:
            raise ValueError(
                'the label config fetches each text from an address (valueType="url"), and a pool holds the texts '
                "themselves: use a project that shows them"
            )
        self.lots = np.random.default_rng([self.settings.seed, 1]).random(pool.size)
        """Uniform in [0, 1), the same for a row however the pool grows: hold-out if under its share, as tasks are."""
        self.pending = _beside(pool, project, PENDING)
        self.refused = 0

    # -- which rows ---------------------------------------------------------------------------------------

    def next_rows(self, ranked: Ranked | None, count: int) -> NDArray[np.int64]:
        """At most `count` (N,) that are not imported yet, the one to label first at the front."""
        sent = np.zeros(self.pool.size, bool)
        sent[[*self.pool.sent(self.project.key)]] = True
        if ranked is None:  # a random sample has its share of the hold-out by itself
            order = np.random.default_rng([self.settings.seed, 2]).permutation(self.pool.size)
            return order[~sent[order]][:count]
        held = self.lots < self.settings.holdout_share
        front = ranked.rows[~sent[ranked.rows] & ~held[ranked.rows]]
        owed = round(self.settings.holdout_share * (sent.sum() + count)) - (sent & held).sum()
        drawn = np.flatnonzero(held & ~sent)
        drawn = drawn[np.argsort(self.lots[drawn])][: np.clip(owed, 0, count)]
        front = front[: count - len(drawn)]
        places = np.random.default_rng([self.settings.seed, sent.sum()]).integers(0, len(front) + 1, len(drawn))
        return np.insert(front, places, drawn)

    def draw_lots(self) -> None:
        """Give each task, as long as nobody has labelled it, its row's lot in place of the one that it drew by its id:
        the hold-out is to be a random sample of the pool, not of the top of its order."""
        tasks = {task: row for row, task in self.pool.sent(self.project.key).items() if task != REFUSED}
        labelled = select(Annotation.task_id).where(Annotation.project_id == self.project.id, ~Annotation.deleted)
        known = select(Task.id, Task.draw).where(Task.project_id == self.project.id, Task.id.not_in(labelled))
        with self.workspace.db.read() as session:
            lots = {id: (float(self.lots[tasks[id]]), draw) for id, draw in session.execute(known) if id in tasks}
        changed = [
            {"project_id": self.project.id, "id": id, "draw": lot} for id, (lot, draw) in lots.items() if lot != draw
        ]
        if changed:
            with self.workspace.db.write() as session:
                session.execute(update(Task), changed)

    # -- importing ----------------------------------------------------------------------------------------

    def settle(self, on_step: OnStep) -> None:
        """Note what an earlier top-up has imported, where it was broken off before it could."""
        if not self.pending.exists():
            return
        told = json.loads(self.pending.read_text("utf-8"))
        on_step("settle")
        give_up = min(self.pending.stat().st_mtime, time.time()) + PATIENCE
        while True:
            late = time.time() >= give_up
            found = self.client.marked_tasks(self.project.external_id, told["batch"])
            if late or len(found) >= told["tasks"]:
                break
            time.sleep(1)
        self.pool.note_sent(self.project.key, {task["meta"][MARK]["row"]: task["id"] for task in found})
        self.pending.unlink()

    def deliver(self, rows: NDArray[np.int64], place: int, of: int) -> int:
        """Import these as the places `place`, … of `of` and note what has become of each; how many are new."""
        datas = dict(zip(rows.tolist(), self.pool.at(rows), strict=True))
        there = self._there()
        noted = {row: there[same] for row, data in datas.items() if (same := canonical(data)) in there}
        documents: dict[int, Document] = {}
        for row in datas.keys() - noted.keys():
            try:
                documents[row] = document(self.schema, datas[row])
            except BadTask as fault:
                noted[row] = self._refuse(row, fault)
        order = [row for row in datas if row in documents]
        tasks = self._tasks(order, datas, documents, [score_at(place + i, of) for i in range(len(order))])
        batch = uuid4().hex
        for row, task in tasks.items():
            task["meta"] = {MARK: {"batch": batch, "row": row}}
        with replacing(self.pending) as unfinished:
            unfinished.write_text(json.dumps({"batch": batch, "tasks": len(tasks)}), "utf-8")
        taken = self._import(tasks)
        self.pool.note_sent(self.project.key, {**noted, **taken})
        self.pending.unlink()
        return sum(task != REFUSED for task in taken.values())

    def _there(self) -> dict[bytes, int]:
        """The project's tasks by their data: some may be older than the pool."""
        with self.workspace.db.read() as session:
            tasks = session.execute(select(Task.id, Task.data).where(Task.project_id == self.project.id))
            return {canonical(data): id for id, data in tasks}

    def _tasks(
        self,
        rows: Sequence[int],
        datas: Mapping[int, dict[str, Any]],
        documents: Mapping[int, Document],
        scores: Sequence[float],
    ) -> dict[int, dict[str, Any]]:
        """What to import, with the predictions of the model in use, under the version that orders the queue now."""
        with self.workspace.db.read() as session:
            current = find_current(session, self.project.key)
        tasks: dict[int, dict[str, Any]] = {row: {"data": datas[row]} for row in rows}
        if current is None or current.model is None:
            return tasks
        sentences = [Sentence.from_text(str(row), documents[row].text) for row in rows]
        found: list[list[Mark]] = self.workspace.models.load(self.project.id, current.model).predict(sentences)
        for row, marks, score in zip(rows, found, scores, strict=True):
            whole = prediction(row, result_of(self.schema, documents[row], marks), score, current.version)
            tasks[row]["predictions"] = [{name: value for name, value in whole.items() if name != "task"}]
        return tasks

    def _import(self, tasks: dict[int, dict[str, Any]]) -> dict[int, int]:
        """The task of each row. One that Label Studio refuses, which costs all the others too, is found by halving."""
        if not tasks:
            return {}
        try:
            return dict(zip(tasks, self.client.import_tasks(self.project.external_id, [*tasks.values()]), strict=True))
        except Refused as refusal:
            if refusal.status != 400:
                raise
            if len(tasks) == 1:
                return {row: self._refuse(row, refusal) for row in tasks}
        rows = [*tasks]
        halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        first, second = (self._import({row: tasks[row] for row in half}) for half in halves)
        return {**first, **second}

    def _refuse(self, row: int, fault: BadTask | LabelStudioError) -> int:
        self.refused += 1
        if self.refused > TOLERATED:
            raise ValueError(
                f"{self.pool.folder}: more than {TOLERATED} rows cannot be imported, the last being row {row}: "
                f"{fault}. Does the pool have the fields that the label config names?"
            )
        log.warning("%s: row %s is left out: %s", self.pool.folder, row, fault)
        return REFUSED


def _beside(pool: Pool, project: Project, what: str) -> Path:
    """A file of a project's own, beside the notes of what was sent to it."""
    folder = pool.folder / "sent"
    folder.mkdir(exist_ok=True)
    return folder / f"{quote(project.key, safe='')}.top-up.{what}"
