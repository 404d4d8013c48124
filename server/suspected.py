"""Annotations that may be wrong, as the last search for them has left them."""

from __future__ import annotations

from typing import Any

from learning.intake import known_project
from learning.workspace import Workspace
from server.links import project_link, task_link


def suspects(workspace: Workspace, key: str) -> dict[str, Any]:
    """As `server.schemas.Suspects`, each with its link. Raises LookupError for an unknown project."""
    with workspace.db.read() as session:
        project = known_project(session, key)
        found = project.suspects or {}
        link = project_link(workspace.settings, project)
    items = [{**item, "link": task_link(link, item["task"])} for item in found.get("items", [])]
    return {**found, "items": items}
