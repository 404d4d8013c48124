"""Who may ask, from which page, and what a browser may do with the answer."""

from __future__ import annotations

import secrets
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import model

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
}

Credentials = Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]


async def allowed(credentials: Credentials) -> None:
    """Basic authentication, where it is configured."""
    settings = model.open_workspace().settings
    if settings.basic_auth_user is None or settings.basic_auth_pass is None:
        return
    given = (credentials.username, credentials.password) if credentials else ("", "")
    wanted = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    same = [secrets.compare_digest(g.encode(), w.encode()) for g, w in zip(given, wanted, strict=True)]
    if not all(same):
        raise HTTPException(401, "user name or password is wrong", {"WWW-Authenticate": "Basic"})


async def from_our_pages(request: Request) -> None:
    """Refuse what another site's page makes a browser send; programs, which send no such headers, may ask."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise HTTPException(403, "this request comes from another site's page; open the status page itself")
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if (body or sent) and sent != "application/json":
        raise HTTPException(415, "the body must be JSON: send Content-Type: application/json")


Guarded = [Depends(allowed)]
GuardedAgainstForgery = [Depends(allowed), Depends(from_our_pages)]


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
