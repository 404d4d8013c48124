"""The way to a project's Label Studio: which address and token are used, our own settings first."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labelstudio.client import LabelStudio, Unauthorized, Unreachable
from learning.settings import Settings

log = logging.getLogger("active_tagger")


@dataclass(frozen=True, slots=True)
class Access:
    """An address and a token, as far as they are known."""

    url: str | None
    token: str | None = field(repr=False)
    lent: bool
    """Whether the token is the one that Label Studio named when it introduced the project: it often does not serve."""

    def client(self, timeout: float = 60.0) -> LabelStudio | None:
        """A client, which has not asked anything yet; None without address or token.

        Raises LabelStudioError for an address or a token that cannot be one.
        """
        return LabelStudio(self.url, self.token, timeout) if self.url and self.token else None


def access(settings: Settings, connection: Mapping[str, Any]) -> Access:
    """Our own address and key; else what Label Studio told in `connection`.

    Our key goes only to our own LABEL_STUDIO_URL, never to an address that a request names.
    """
    if settings.label_studio_url and settings.label_studio_api_key:
        return Access(settings.label_studio_url, settings.label_studio_api_key.get_secret_value(), lent=False)
    return Access(settings.label_studio_url or connection.get("hostname"), connection.get("access_token"), lent=True)


def connect(settings: Settings, connection: Mapping[str, Any]) -> LabelStudio | None:
    """A client whose token works; None without one.

    Raises Unreachable or Unauthorized where our own settings do not serve, but for a lent token that does not: that is
    the usual case.
    """
    found = access(settings, connection)
    try:
        client = found.client()
        if client is not None:
            client.check()
        return client
    except (Unauthorized, Unreachable) as error:
        if not found.lent:
            raise
        log.info("the token that Label Studio lent does not serve: %s", error)
        return None
