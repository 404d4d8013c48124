"""Addresses in Label Studio, for people's browsers."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from learning.database import Project
from learning.settings import Settings


def project_link(settings: Settings, project: Project) -> str | None:
    """The project's Data Manager; None where no usable address is known."""
    base = _base(settings.label_studio_url, project.connection.get("hostname"))
    return f"{base}/projects/{project.external_id}/data" if base else None


def task_link(project: str | None, task_id: int) -> str | None:
    """The task in the editor, given the project's link."""
    return f"{project}?task={task_id}" if project else None


def _base(ours: str | None, told: str | None) -> str | None:
    """What Label Studio says of itself is what people use, unless it was never told its name ("localhost") while we
    were given one that is good everywhere; ours may be a name inside a container network only."""
    usable = [url for url in map(_checked, (told, ours)) if url]
    everywhere = [url for url in usable if not _local(url)]
    return next(iter(everywhere or usable), None)


def _checked(url: str | None) -> str | None:
    try:
        parts = urlsplit((url or "").strip())
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = parts.netloc.rpartition("@")[2]  # without a password
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


def _local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host
