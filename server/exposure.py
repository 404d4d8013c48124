"""What a backend is open to with its present settings, told when it starts."""

from __future__ import annotations

import ipaddress

from learning.settings import Settings

SHORT = 12
"""Characters: the secret of webhooks is derived from the password, and whoever sees it can try shorter ones out."""


def warnings(settings: Settings) -> list[str]:
    """What is dangerous about the settings, each with its remedy; none as long as only this machine gets in."""
    password = settings.basic_auth_pass.get_secret_value() if settings.basic_auth_pass else ""
    if password and len(password) < SHORT:
        return [f"BASIC_AUTH_PASS is short: take at least {SHORT} characters, for example of `openssl rand -hex 16`."]
    if password or is_loopback(settings.host):
        return []
    return [
        f"Everybody who reaches {settings.host}:{settings.port} gets in: there is no password, so all routes are open. "
        "They can read the projects' texts, send annotations, change settings and download models. Set BASIC_AUTH_USER "
        "and BASIC_AUTH_PASS (and give both in Label Studio's connection form), or set HOST=127.0.0.1."
    ]


def is_loopback(host: str) -> bool:
    """Whether an address, or a host's name, is that of this machine for itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in ("localhost", "ip6-localhost") or host.lower().endswith(".localhost")
