"""Publishing a round: the predictions of a new version, and the switch of the queue to it after the first of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from labelstudio.client import LabelStudio, LabelStudioError, Refused

UNCERTAINTY_SAMPLING = "Uncertainty sampling"
ATTEMPTS = 3
BAD_REQUEST = 400
HEAD = 16
"""Predictions that are there before the switch. Label Studio takes them one by one in 0.1 s each; an import, however
small, counts those of all tasks anew, and the whole one lasts half a minute in a project of 14,000: too short for
people to use these up (the queue would then go on at random until the import is done)."""
IN_ONE = 500
"""So many or fewer are imported whole before the switch: that is as quick."""


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing a version did."""

    version: str
    created: int
    """Predictions imported now; 0 when an earlier call had done it."""
    vanished: tuple[int, ...]
    """Tasks that were ranked but deleted in Label Studio before they could be published."""
    tab: int
    """Id of the Data Manager tab that shows the queue."""


def score_at(place: int, length: int) -> float:
    """Turn a place in the queue (0 first, of `length`) into Label Studio's score, in [0, 1).

    Label Studio serves the lowest score first and gives equal ones no order: places, unlike a strategy's own figures,
    are never equal.
    """
    return place / max(length, 1)


def publish(
    client: LabelStudio,
    project_id: int,
    version: str,
    predictions: Sequence[dict[str, Any]],
    *,
    sampling: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> Published:
    """Give each task one prediction under `version`, and let their scores order the project's queue.

    First come those that are served first, then the switch, then the rest. The old queue is whole until the switch,
    and a call may be broken off anywhere and repeated: what is there already, of the same version, is not sent again.
    `sampling=False` leaves the project's sampling as the user set it. `on_progress` is told each step in words.

    Raises ValueError for a prediction of another version or a second one for a task, LabelStudioError when
    Label Studio dropped some (before the switch, where they are `IN_ONE` or fewer: the queue is then left as it was).
    """
    _check(version, predictions)
    tell = on_progress or (lambda step: None)
    project = client.project(project_id)
    waiting = _not_there(client, project_id, version, sorted(predictions, key=lambda p: p["score"]))
    created, vanished = 0, list[int]()
    if project.model_version != version:
        if len(predictions) > IN_ONE:
            tell(f"adding the first predictions of {version}")
            created, waiting = _add_first(client, waiting, HEAD - (len(predictions) - len(waiting)))
        if len(predictions) <= IN_ONE or len(waiting) == len(predictions):
            created, vanished = _import_all(client, project_id, waiting, tell)
            waiting = []
        if len(vanished) == len(predictions):
            raise LabelStudioError(f"project {project_id}: none of the ranked tasks exists any more")
        tell(f"switching the queue to {version}")
        client.set_model_version(project_id, version)
    if sampling and project.sampling != UNCERTAINTY_SAMPLING:
        client.set_sampling(project_id, UNCERTAINTY_SAMPLING)
    if waiting:
        imported, vanished = _import_all(client, project_id, waiting, tell)
        created += imported
    return Published(version, created, tuple(vanished), client.ensure_tab(project_id))


def clean_up(client: LabelStudio, project_id: int, ours: Collection[str], keep: Collection[str]) -> list[str]:
    """Delete the predictions of our versions but those to `keep` and the project's current one.

    `ours` names every version that we ever published: those of other backends are never touched.
    Returns the versions deleted. Slow (2,000 predictions: 15 s); annotators can go on meanwhile.
    """
    current = client.project(project_id).model_version
    old = [v for v in client.model_versions(project_id) if v in ours and v not in keep and v != current]
    for version in old:
        client.delete_version(project_id, version)
    return old


def _check(version: str, predictions: Sequence[dict[str, Any]]) -> None:
    if not predictions:
        raise ValueError(f"version {version!r}: there is nothing to publish")
    seen: set[int] = set()
    for prediction in predictions:
        task, its_version, score = prediction["task"], prediction["model_version"], prediction["score"]
        if its_version != version:
            raise ValueError(f"task {task}: its prediction is of version {its_version!r}, not {version!r}")
        if task in seen:
            raise ValueError(f"task {task}: two predictions of version {version!r}; the queue needs one")
        if not 0 <= score <= 1:
            raise ValueError(f"task {task}: score {score} is outside [0, 1]; Label Studio would drop it")
        seen.add(task)


def _not_there(
    client: LabelStudio, project_id: int, version: str, predictions: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Those that an interrupted call has not got through with; asking which costs as much as an import."""
    there = client.model_versions(project_id).get(version, 0)
    if there == 0:
        return predictions
    if there >= len(predictions):
        return []
    tasks = client.predicted_tasks(project_id, version)
    return [p for p in predictions if p["task"] not in tasks]


def _add_first(client: LabelStudio, predictions: list[dict[str, Any]], count: int) -> tuple[int, list[dict[str, Any]]]:
    """Add `count`, the first first: how many were taken, and all that remain. What is refused is left to the import."""
    refused: list[dict[str, Any]] = []
    taken = place = 0
    while taken < count and place < len(predictions):
        try:
            client.add_prediction(predictions[place])
            taken += 1
        except Refused as refusal:
            if refusal.status != BAD_REQUEST:
                raise
            refused.append(predictions[place])
        place += 1
    return taken, [*refused, *predictions[place:]]


def _import_all(
    client: LabelStudio, project_id: int, predictions: list[dict[str, Any]], tell: Callable[[str], None]
) -> tuple[int, list[int]]:
    """Import all whose task exists; returns the number imported and the ids of the vanished tasks.

    The import is tried first and questioned later: listing the tasks takes as long as importing.
    """
    remaining, created = predictions, 0
    for attempt in range(1, ATTEMPTS + 1):
        if not remaining:
            break
        tell(f"importing {len(remaining)} predictions of {predictions[0]['model_version']}")
        try:
            created = _import(client, project_id, remaining)
            break
        except Refused as refusal:
            if attempt == ATTEMPTS:
                raise
            remaining = _still_there(client, project_id, remaining, refusal)
    kept = {p["task"] for p in remaining}
    return created, [p["task"] for p in predictions if p["task"] not in kept]


def _import(client: LabelStudio, project_id: int, predictions: list[dict[str, Any]]) -> int:
    """One request; LabelStudioError when some were dropped."""
    created = client.import_predictions(project_id, predictions)
    if created != len(predictions):
        raise _dropped(client, project_id, predictions, created)
    return created


def _still_there(
    client: LabelStudio, project_id: int, predictions: list[dict[str, Any]], refusal: Refused
) -> list[dict[str, Any]]:
    """The predictions whose task exists; raises the refusal again when it was about something else."""
    if refusal.status != BAD_REQUEST:
        raise refusal
    existing = client.task_ids(project_id)
    remaining = [p for p in predictions if p["task"] in existing]
    if len(remaining) == len(predictions):
        raise refusal
    return remaining


def _dropped(client: LabelStudio, project_id: int, sent: list[dict[str, Any]], created: int) -> LabelStudioError:
    kept = client.predicted_tasks(project_id, sent[0]["model_version"])
    dropped = [str(p["task"]) for p in sent if p["task"] not in kept]
    shown = ", ".join(dropped[:10]) + (", …" if len(dropped) > 10 else "")
    return LabelStudioError(
        f"project {project_id}: Label Studio kept {created} of {len(sent)} predictions and dropped those of "
        f"tasks {shown}: a label or tag name of theirs is not in the project's label config. "
        "Was the label config changed during the round? The next round reads it anew"
    )
