"""Who may ask, from which page, and what a browser may do with the answer."""

from __future__ import annotations

import logging
import re
import secrets
import time
from base64 import b64decode
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import model
from learning.settings import Settings
from server import webhooks
from server.exposure import is_loopback

log = logging.getLogger("active_tagger")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Of every answer: nothing but our own files, and no inline script or style."""
POLICY_OF_REPORTS = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of a simulation's report, one file with its styles and pictures: no script at all."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Answers hold people's texts: no cache keeps one that does not say otherwise."""
HOST_AND_PORT = re.compile(r"^(.*?)(:\d*)?$", re.DOTALL)
ADDRESS = re.compile(r"[\d.]+|\[[\da-f:.]+\]")
NOBODYS_NAMES = (".internal", ".local", ".lan", ".home.arpa")
"""Ends of names that cannot be registered."""
OPEN = frozenset({"/health"})
"""The paths that need no password."""
TELL_EVERY = 60.0
"""Seconds between two lines in the log about who was not let in."""


class Gate:
    """ASGI middleware that every request must pass, before any of its body is read: a new route is guarded unasked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._told = -TELL_EVERY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, settings = Request(scope), model.open_workspace().settings
        try:
            under_our_name(request, settings)
            with_password(request, settings)
            from_our_pages(request)
        except HTTPException as refused:
            self._tell(request, refused)
            answer = JSONResponse({"detail": refused.detail}, refused.status_code, refused.headers)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _tell(self, request: Request, refused: HTTPException) -> None:
        """A line a minute: whoever guesses passwords must not fill the disk."""
        if time.monotonic() - self._told >= TELL_EVERY:
            self._told = time.monotonic()
            who = request.client.host if request.client else "?"
            log.warning("refused %s %.100r from %s: %s", request.method, request.scope["path"], who, refused.detail)


def with_password(request: Request, settings: Settings) -> None:
    """Basic authentication, where it is configured; for events also the secret that our webhooks carry.

    Raises HTTPException (401). Comparing takes as long whatever is wrong. The path is the one that routes are found by:
    `request.url` is put together with the header Host, in which anything may stand.
    """
    if not settings.basic_auth_user or not settings.basic_auth_pass or request.scope["path"] in OPEN:
        return
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        pair = b64decode(given, validate=True)
    except ValueError:
        pair = b""
    wanted = f"{settings.basic_auth_user}:{settings.basic_auth_pass.get_secret_value()}".encode()
    if secrets.compare_digest(pair, wanted) and kind.lower() == "basic":
        return
    if request.scope["path"] != "/webhook":
        raise HTTPException(401, "user name or password is wrong", {"WWW-Authenticate": "Basic"})
    if not webhooks.carry_secret(request.headers, settings):
        remedy = "the webhook in Label Studio lacks it, see the check of the connection"
        raise HTTPException(401, f"neither the secret nor the password came along: {remedy}")


def under_our_name(request: Request, settings: Settings) -> None:
    """Refuse names that anybody may register, where only this machine gets in and nobody is asked for a password: a
    page of such a name, which was made to lead here, would be one of our pages to a browser.

    Raises HTTPException (421).
    """
    if settings.basic_auth_user or not is_loopback(settings.host):
        return
    name = HOST_AND_PORT.sub(r"\1", request.headers.get("host", "").lower())
    if "." in name and not is_loopback(name) and not name.endswith(NOBODYS_NAMES) and not ADDRESS.fullmatch(name):
        raise HTTPException(421, "set BASIC_AUTH_USER and BASIC_AUTH_PASS to use this backend under another name")


def from_our_pages(request: Request) -> None:
    """Refuse what another site's page makes a browser send; programs, which send no such headers, may ask.

    Raises HTTPException (403, or 415 for a body that a form could send).
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not ours:
        raise HTTPException(403, "this request comes from another site's page; open the status page itself")
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if (body or sent) and sent != "application/json":
        raise HTTPException(415, "the body must be JSON: send Content-Type: application/json")


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with what `Gate` asks for, of which FastAPI knows nothing."""
    schemes = {
        "password": {"type": "http", "scheme": "basic"},
        "webhook": {"type": "apiKey", "in": "header", "name": webhooks.HEADER},
    }
    document["components"] = {**document.get("components", {}), "securitySchemes": schemes}
    document["security"] = [{"password": []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in OPEN:
                operation["security"] = []
            elif path == "/webhook":
                operation["security"] = [{"password": []}, {"webhook": []}]
    return document


class SecurityHeaders:
    """ASGI middleware that adds `HEADERS` to every answer that does not bring its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)
