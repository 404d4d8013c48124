"""What stands behind a pool: a project connected to the backend, its model in use, and what that has learned from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from corpus import KINDS, Kind, Sentence
from labelstudio.schema import Schema, kinds_of, read_schema
from learning.database import Project, Round
from learning.ranking import ordering
from learning.settings import ProjectSettings
from learning.workspace import Workspace
from server.live import LiveVenue
from taggers import TAGGERS, Damaged
from taggers.base import CARD, sealed_card

log = logging.getLogger("active_tagger")


@dataclass(frozen=True)
class Backing:
    """A project as it is now, with the model that its current round used."""

    project_id: int
    project: str
    """Its key."""
    external_id: int
    """Its number in Label Studio."""
    settings: ProjectSettings
    """Those in force."""
    schema: Schema
    label_config: str
    version: str
    """Of the model."""
    round: int
    """The number of the round that trained it."""
    model: Path
    """The folder of the model that tags."""
    acquisition: Path | None
    """The folder of the one that ranks, where it is another."""
    tags: Mapping[Kind, Path]
    """The folder of what tags, by what it marks."""
    ranks: Mapping[Kind, Path]
    """The folder of what ranks, by what it marks."""
    labelled: list[Sentence]
    """What the project has learned from by now, with its labels; the hold-out is not among them."""

    @property
    def orders(self) -> list[Kind]:
        """The kinds of marks that order the queue, in the order in which they are asked."""
        chosen = ordering(self.settings, self.schema.kinds, self.ranks)
        return [kind for kind in KINDS if kind in chosen]

    def provides(self, kind: Kind) -> frozenset[str]:
        """What the model that ranks by a kind of marks gives to measure by."""
        return TAGGERS[json.loads((self.ranks[kind] / CARD).read_text())["tagger"]].provides

    def rng(self) -> np.random.Generator:
        """The same for the same model."""
        return np.random.default_rng([self.settings.seed, self.round])


def backing(workspace: Workspace, project_id: int) -> Backing:
    """A project of the database, read without asking Label Studio.

    Raises ValueError, in words, if it has no model yet, or one that is damaged or does not fit its settings, or if its
    texts are fetched from elsewhere.
    """
    with workspace.db.read() as session:
        project = session.get_one(Project, project_id)
        current = session.get(Round, project.current_round_id) if project.current_round_id else None
        trained = session.get(Round, current.model_round_id) if current and current.model_round_id else None
    settings, fault = workspace.settings.in_force(project.extra_params, partial(kinds_of, project.label_config))
    if fault:
        log.warning("project %s: %s", project.key, fault)
    schema = read_schema(project.label_config, settings.control)
    name = project.title or project.external_id
    if schema.remote:
        raise ValueError(
            f'project {name}: its label config fetches each text from an address (valueType="url"), and a pool is '
            "ranked by the texts that it holds: import the texts themselves, into a project that shows them"
        )
    if trained is None:
        raise ValueError(
            f"project {name} has no model yet, so nothing can be ranked: import some tasks into Label Studio, and "
            f"label {settings.round_size} of them"
        )
    settings.check_for(schema.kinds)
    model = workspace.models.folder(project_id, trained.version).resolve()
    ranks = workspace.models.ranking_folder(project_id, trained.version).resolve()
    return Backing(
        project_id=project_id,
        project=project.key,
        external_id=project.external_id,
        settings=settings,
        schema=schema,
        label_config=project.label_config,
        version=trained.version,
        round=trained.number,
        model=model,
        acquisition=None if ranks == model else ranks,
        tags=_parts(model),
        ranks=_parts(ranks),
        labelled=LiveVenue(workspace, project_id, settings).snapshot().labelled,
    )


def _parts(folder: Path) -> dict[Kind, Path]:
    """Where the model of each kind of marks lies in a stored model, once that is found to be as it was stored."""
    try:
        card = sealed_card(folder)
    except FileNotFoundError as error:
        raise Damaged(f"{error}: start a round, which trains a new one") from None
    if card["tagger"] == "several":
        return {kind: folder / kind for kind in KINDS if kind in card["options"]["models"]}
    return {TAGGERS[card["tagger"]].kind: folder}
