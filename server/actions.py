"""What people may do to a project from the status page. Each answers in words."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from labelstudio.client import LabelStudioError
from labelstudio.schema import read_schema
from learning import rounds
from learning.intake import known_project, mark_due
from learning.serving import current_version
from learning.settings import MODELS
from learning.workspace import Workspace
from model import ActiveTagger
from server.connection import connect

IN_THE_FORM = "change it in Label Studio: the project's Settings → Model → Edit → extra parameters"
NO_KEY = (
    "Settings live in Label Studio's connection form, and this backend has no key to it. "
    f"Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, or {IN_THE_FORM}."
)
OPTIONS = (*MODELS.values(), *((name, f"{name}_options") for name in ("acquisition", "strategy", "filter")))
"""Settings with options of their own, which belong to the one they were set for."""


def start_round(workspace: Workspace, key: str) -> str:
    """Make a round with training due. Raises LookupError for an unknown project, ValueError for a paused one."""
    with workspace.db.write() as session:
        project = known_project(session, key)
        if project.paused:
            raise ValueError("The project is paused: resume it, then start a round.")
        mark_due(project, "fit", "asked for on the status page")
        project.retry_at = None
    return "A round will begin within a second, or when the one that runs is done."


def pause(workspace: Workspace, key: str, paused: bool) -> str:
    """Let no round begin, or let them begin again. Raises LookupError for an unknown project."""
    with workspace.db.write() as session:
        known_project(session, key).paused = paused
    if paused:
        return "Paused: a round that runs is finished, and none begins until you resume."
    return "Resumed: what is due begins now."


def roll_back(workspace: Workspace, key: str, version: str) -> str:
    """Rank and serve with an earlier model again. Raises LookupError for an unknown project, ValueError for a version
    that is not stored, or whose files are damaged."""
    with workspace.db.read() as session:
        project = known_project(session, key)
    if version in workspace.models.versions(project.id):
        workspace.models.verify(project.id, version)
    rounds.rollback(workspace.db, workspace.models, project.id, version)
    later = " when the project is resumed" if project.paused else ""
    return f"The queue will be ordered with {version} again{later}."


def change_settings(workspace: Workspace, key: str, changes: dict[str, Any]) -> str:
    """Write changed settings into Label Studio's connection form, where they live, and take them over from there.

    Raises LookupError for an unknown project; ValueError, in words, for settings that do not fit, or where Label Studio
    does not let us.
    """
    with workspace.db.read() as session:
        project = known_project(session, key)
        version = current_version(session, project)
    wanted = _changed(project.extra_params, changes)
    if wanted == project.extra_params:
        return "Nothing has changed."
    fitting = workspace.settings.for_project(wanted)
    fitting.check_for(read_schema(project.label_config, fitting.control).kinds)
    try:
        client = connect(workspace.settings, project.connection)
        if client is None:
            raise ValueError(NO_KEY)
        with closing(client):
            client.set_extra_params(_ours(client.ml_backends(project.external_id), version), wanted)
    except LabelStudioError as error:
        raise ValueError(f"{error}. You can also {IN_THE_FORM}.") from None
    ActiveTagger(project_id=project.key, workspace=workspace).set_extra_params(wanted)
    return f"Changed: {', '.join(sorted(changes))}. It holds from the next round on, which is due now."


def _changed(known: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The form's parameters afterwards: null takes one out, and options go with what they were set for."""
    wanted = {**known, **changes}
    for name, options in OPTIONS:
        if changes.get(name, known.get(name)) != known.get(name) and options not in changes:
            wanted.pop(options, None)
    return {name: value for name, value in wanted.items() if value is not None}


def _ours(backends: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """Which of a project's backends we are: the only one, or the only one with our present version."""
    alike = backends if len(backends) == 1 else [one for one in backends if one.get("model_version") == version]
    if len(alike) != 1:
        many = f"{len(backends)} models are connected to the project, and which one this is cannot be told"
        raise ValueError(f"{many if backends else 'No model is connected to the project'}: {IN_THE_FORM}.")
    return alike[0]
