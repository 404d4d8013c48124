"""The HTTP application: Label Studio's ML-backend routes, and a plain status."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from sqlalchemy import select
from starlette.types import ASGIApp, Receive, Scope, Send

from labelstudio.events import project_key
from learning import rounds
from learning.database import Project, Round
from learning.intake import find_project
from learning.serving import current_version
from model import ActiveTagger, open_workspace
from server import simulations
from server.logs import set_up_logging
from server.status import project_states, status_page

log = logging.getLogger("active_tagger")
Payload = dict[str, Any]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the workspace before the first request, and warm the models up behind it."""
    workspace = open_workspace()
    set_up_logging(workspace.settings.log_level)
    threading.Thread(target=_warm_up, daemon=True).start()
    yield
    workspace.db.engine.dispose()


def _warm_up() -> None:
    """Load the current models, so that the first prediction need not."""
    workspace = open_workspace()
    with workspace.db.read() as session:
        current = select(Round.model_round_id).join(Project, Project.current_round_id == Round.id)
        for model in session.scalars(select(Round).where(Round.id.in_(current))):
            try:
                workspace.models.load(model.project_id, model.version)
            except Exception:
                log.exception("model %s could not be loaded", model.version)


async def allowed(
    credentials: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))],
) -> None:
    """Basic authentication, where it is configured."""
    settings = open_workspace().settings
    if settings.basic_auth_user is None or settings.basic_auth_pass is None:
        return
    given = (credentials.username, credentials.password) if credentials else ("", "")
    wanted = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    same = [secrets.compare_digest(g.encode(), w.encode()) for g, w in zip(given, wanted, strict=True)]
    if not all(same):
        raise HTTPException(401, "user name or password is wrong", {"WWW-Authenticate": "Basic"})


class Timed:
    """ASGI middleware that logs what takes longer than Label Studio waits for a webhook."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        await self._app(scope, receive, send)
        if scope["type"] == "http" and (seconds := time.monotonic() - began) > 1.0:
            log.info("%s took %.1f s", scope["path"], seconds)


app = FastAPI(title="Active Tagger", lifespan=lifespan)
app.add_middleware(Timed)
Guarded = [Depends(allowed)]


@app.exception_handler(ValueError)
async def unusable(request: Request, error: ValueError) -> JSONResponse:
    """What was sent cannot be used; the message says why and what to do."""
    log.warning("%s: %s", request.url.path, error)
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(LookupError)
async def unknown(request: Request, error: LookupError) -> JSONResponse:
    """What was asked for is not here."""
    log.warning("%s: %s", request.url.path, error)
    return JSONResponse({"detail": str(error.args[0]) if error.args else "not found"}, 404)


@app.get("/")
@app.get("/health")
async def health() -> Payload:
    """Label Studio asks this before everything else and waits one second."""
    return {"status": "UP", "model_class": "ActiveTagger"}


@app.post("/setup", dependencies=Guarded)
def setup(payload: Payload) -> Payload:
    """Label Studio introduces a project; answered with the version in use."""
    tagger = ActiveTagger(project_id=payload.get("project"), label_config=payload.get("schema"))
    tagger.connect(payload.get("hostname") or "", payload.get("access_token") or "")
    tagger.set_extra_params(payload.get("extra_params"))
    return {"model_version": tagger.version}


@app.post("/predict", dependencies=Guarded)
def predict(payload: Payload) -> JSONResponse:
    """One result per task, in their order."""
    tagger = ActiveTagger(project_id=payload.get("project"), label_config=payload.get("label_config"))
    context = (payload.get("params") or {}).get("context")
    return JSONResponse({"results": tagger.predict(payload.get("tasks") or [], context=context)})


@app.post("/webhook")
def webhook(payload: Payload) -> Payload:
    """An event, written down at once. Label Studio sends these without authentication."""
    key = project_key(payload.get("project"))
    event = str(payload.pop("action", ""))
    try:
        return ActiveTagger(project_id=key).fit(event, payload)
    except LookupError:  # our database is newer than the connection: get to know the project now
        config = (payload.get("project") or {}).get("label_config")
        return ActiveTagger(project_id=key, label_config=config).fit(event, payload)


@app.get("/versions", dependencies=Guarded)
def versions() -> Payload:
    """The versions in use, of all projects: Label Studio does not say which it means."""
    with open_workspace().db.read() as session:
        return {"versions": [current_version(session, project) for project in session.scalars(select(Project))]}


@app.get("/status.json", dependencies=Guarded)
def status_json() -> Payload:
    """All projects with their rounds."""
    return {"projects": project_states(open_workspace())}


@app.get("/status", dependencies=Guarded, response_class=HTMLResponse)
def status() -> str:
    """The same, to read."""
    return status_page(project_states(open_workspace()))


@app.post("/projects/{key}/rollback", dependencies=Guarded)
def rollback(key: str, payload: Payload) -> Payload:
    """Rank and serve with an earlier model again: `{"version": "v3-…"}`."""
    workspace = open_workspace()
    with workspace.db.read() as session:
        project = find_project(session, key)
    if project is None:
        raise LookupError(f"project {key!r} is not known here")
    rounds.rollback(workspace.db, workspace.models, project.id, str(payload.get("version")))
    return {"due": f"roll back to {payload.get('version')}"}


@app.post("/projects/{key}/simulate", dependencies=Guarded)
def simulate(key: str, payload: Payload) -> Payload:
    """Compare strategies on what is labelled so far: `{}`, or what `server.simulations.ask` knows."""
    return {"simulation": simulations.ask(open_workspace(), key, payload)}


@app.get("/projects/{key}/simulations", dependencies=Guarded)
def newest_simulations(key: str) -> Payload:
    """How they stand and what they came to, the latest first."""
    return {"simulations": simulations.newest_of(open_workspace(), key)}


@app.get("/projects/{key}/simulations/{id}/report", dependencies=Guarded, response_class=HTMLResponse)
def simulation_report(key: str, id: int) -> str:
    """Tables and curves of one that is done."""
    return simulations.report(open_workspace(), key, id)
