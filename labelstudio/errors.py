"""What goes wrong between us and Label Studio, in words."""

from __future__ import annotations

import httpx

HOW_TO_GET_A_TOKEN = (  # nosec B105 # words
    "set LABEL_STUDIO_API_KEY to a token: in Label Studio open Account & Settings → Personal Access Token "
    "→ Create, and copy it"
)


class LabelStudioError(RuntimeError):
    """Label Studio did not do what was asked; the message says why and what to do, and holds no token."""


class Unreachable(LabelStudioError):
    """No Label Studio answers there, or it is failing: worth trying again later."""


class Unauthorized(LabelStudioError):
    """The token is missing, wrong, expired, or its user may not do this."""


class Refused(LabelStudioError):
    """Label Studio understood and said no (4xx)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def own_words(response: httpx.Response) -> str:
    """Label Studio's own words on an error, short."""
    try:
        body = response.json()
        words = str(body.get("validation_errors") or body.get("detail") or body)
    except (ValueError, AttributeError):
        words = response.reason_phrase
    return words if len(words) <= 300 else f"{words[:300]}…"
