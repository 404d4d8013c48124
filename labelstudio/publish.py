"""Publishing a round: the predictions of a new version, then the switch of the queue to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from labelstudio.client import LabelStudio, LabelStudioError, Refused

UNCERTAINTY_SAMPLING = "Uncertainty sampling"
ATTEMPTS = 3
BAD_REQUEST = 400


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
    """Import one prediction per task under `version`, then let its scores order the project's queue.

    The old queue is whole until the switch, which comes last but for its trimmings, so a call may be broken
    off anywhere and repeated: no task gets two predictions of a version. `sampling=False` leaves the
    project's sampling as the user set it. `on_progress` is told each step in words.

    Raises ValueError for a prediction of another version or a second one for a task, LabelStudioError when
    Label Studio dropped some (the queue is then left as it was).
    """
    _check(version, predictions)
    tell = on_progress or (lambda step: None)
    project = client.project(project_id)
    created = 0
    vanished: tuple[int, ...] = ()
    if project.model_version != version or version not in client.model_versions(project_id):
        created, vanished = _import_whole(client, project_id, version, predictions, tell)
        if len(vanished) == len(predictions):
            raise LabelStudioError(f"project {project_id}: none of the ranked tasks exists any more")
        tell(f"switching the queue to {version}")
        client.set_model_version(project_id, version)
    if sampling and project.sampling != UNCERTAINTY_SAMPLING:
        client.set_sampling(project_id, UNCERTAINTY_SAMPLING)
    return Published(version, created, vanished, client.ensure_tab(project_id))


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


def _import_whole(
    client: LabelStudio,
    project_id: int,
    version: str,
    predictions: Sequence[dict[str, Any]],
    tell: Callable[[str], None],
) -> tuple[int, tuple[int, ...]]:
    """Import all whose task exists; returns the number imported and the ids of the vanished tasks.

    The import is tried first and questioned later: listing the tasks takes as long as importing. What an
    interrupted call left is deleted first, unless that call had got through.
    """
    remaining, created = list(predictions), 0
    for attempt in range(1, ATTEMPTS + 1):
        left = client.model_versions(project_id).get(version, 0)
        if left == len(remaining):
            break
        if left:
            tell(f"deleting {left} predictions of {version} that an interrupted run left")
            client.delete_version(project_id, version)
        tell(f"importing {len(remaining)} predictions of {version}")
        try:
            created = _import(client, project_id, remaining)
            break
        except Refused as refusal:
            if attempt == ATTEMPTS:
                raise
            remaining = _still_there(client, project_id, remaining, refusal)
    kept = {p["task"] for p in remaining}
    return created, tuple(p["task"] for p in predictions if p["task"] not in kept)


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
