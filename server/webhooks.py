"""The secret that Label Studio sends with a project's events: its webhooks know no password, but take headers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import lru_cache
from hashlib import scrypt
from typing import Any

from labelstudio.client import LabelStudio
from learning.settings import Settings

HEADER = "X-Active-Tagger-Secret"


def headers(settings: Settings) -> dict[str, str]:
    """What a webhook of ours must send along: nothing where there is no password."""
    if not settings.basic_auth_user or not settings.basic_auth_pass:
        return {}
    return {HEADER: _derived(settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())}


@lru_cache(maxsize=4)
def _derived(user: str, password: str) -> str:
    """Follows from the password, so that no process has to store it, and does not give the password away: all members
    of a Label Studio see the headers of its webhooks. One guess at the password costs 0.1 s and 32 MB."""
    salt = f"active-tagger webhook {user}".encode()
    return scrypt(password.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=24).hex()


def carry_secret(given: Mapping[str, str], settings: Settings) -> bool:
    """Whether these headers hold the secret; never where there is none."""
    wanted = headers(settings)
    sent = {name.lower(): value for name, value in given.items()}.get(HEADER.lower(), "")
    return bool(wanted) and secrets.compare_digest(sent.encode(), wanted[HEADER].encode())


def url_of(backend: Mapping[str, Any]) -> str:
    """Where Label Studio sends the events of a project with this backend, as `LabelStudio.ml_backends` gives it."""
    return f"{backend['url'].rstrip('/')}/webhook"


def secure(client: LabelStudio, external_id: int, settings: Settings) -> bool:
    """Give our webhook in this project the secret if it lacks it, or has that of an earlier password; True if so.

    Ours is the webhook of a backend that Label Studio calls with our user name: without it we would not answer. No
    other webhook is touched, and nothing else of ours. Raises LabelStudioError.
    """
    if not headers(settings):
        return False
    backends = client.ml_backends(external_id)
    ours = {url_of(backend) for backend in backends if backend.get("basic_auth_user") == settings.basic_auth_user}
    if not ours:
        return False
    lacking = [w for w in client.webhooks(external_id) if w.url in ours and not carry_secret(w.headers, settings)]
    for webhook in lacking:
        client.add_webhook_headers(webhook, headers(settings))
    return bool(lacking)


if __name__ == "__main__":  # for those without an API key, who type it into Label Studio's webhook form
    told = headers(Settings())
    print("\n".join(f"{name}: {value}" for name, value in told.items()) or "There is no password: nothing is needed.")
