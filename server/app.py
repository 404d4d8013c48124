"""The HTTP application: Label Studio's ML-backend routes, the API under `/api`, and the pages that show it."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from sqlalchemy import select
from starlette.staticfiles import StaticFiles

import model
from labelstudio.events import project_key
from learning.database import Project, Round
from learning.serving import current_version
from model import ActiveTagger
from server import api, telemetry
from server.events import Feed, ended_with_the_server
from server.logs import set_up_logging
from server.security import Credentials, Guarded, SecurityHeaders, allowed

log = logging.getLogger("active_tagger")
Payload = dict[str, Any]
PAGES = Path(__file__).parent / "pages"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the workspace before the first request, and warm the models up behind it."""
    workspace = model.open_workspace()
    set_up_logging(workspace.settings.log_level)
    threading.Thread(target=_warm_up, daemon=True).start()
    app.state.feed = Feed(workspace)
    with ended_with_the_server(app.state.feed):
        yield
    workspace.db.engine.dispose()


def _warm_up() -> None:
    """Do what the first request would have to wait for: imports that are put off, and loading the current models."""
    import label_studio_sdk.label_interface.interface  # noqa: F401

    workspace = model.open_workspace()
    with workspace.db.read() as session:
        current = select(Round.model_round_id).join(Project, Project.current_round_id == Round.id)
        for fitted in session.scalars(select(Round).where(Round.id.in_(current))):
            try:
                workspace.models.load(fitted.project_id, fitted.version)
            except Exception:
                log.exception("model %s could not be loaded", fitted.version)


# FastAPI's own documentation pages load scripts from elsewhere; the document itself is served below.
app = FastAPI(title="Active Tagger", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
app.add_middleware(SecurityHeaders)
app.include_router(api.router)
telemetry.mount(app)


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


@app.get("/", response_model=None)
async def root(request: Request, credentials: Credentials) -> Response:
    """For people the status page; for Label Studio, which also looks here, the same as `/health`."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(await health(), headers={"Vary": "Accept"})
    await allowed(credentials)
    return _page("index.html")


@app.get("/health")
async def health() -> Payload:
    """Label Studio asks this before everything else and waits one second."""
    return {"status": "UP", "model_class": "ActiveTagger"}


@app.get("/project", dependencies=Guarded, include_in_schema=False)
async def project_page() -> FileResponse:
    """One project, `?key=…`."""
    return _page("project.html")


def _page(name: str) -> FileResponse:
    return FileResponse(PAGES / name, headers={"Cache-Control": "no-cache", "Vary": "Accept"})


_pages = StaticFiles(directory=PAGES)
_spec = find_spec("uplot")  # found without importing it: only its files are of use
_chart_files = StaticFiles(directory=Path(_spec.origin or "").parent / "static") if _spec else None


@app.get("/pages/{path:path}", dependencies=Guarded, include_in_schema=False)
async def static_file(request: Request, path: str) -> Response:
    """Scripts and styles; those under `uplot/` are the charting library's own."""
    folder: StaticFiles | None = _pages
    if path.startswith("uplot/"):
        folder, path = _chart_files, path.removeprefix("uplot/")
    if folder is None:
        raise HTTPException(404, "the package uplot-python is not installed")
    answer = await folder.get_response(path, request.scope)
    answer.headers["Cache-Control"] = "no-cache"  # asked for again, and answered 304 as long as it is the same
    return answer


@app.get("/openapi.json", dependencies=Guarded, include_in_schema=False)
def openapi() -> Payload:
    """What can be asked for, and what comes."""
    return app.openapi()


@app.get("/status", include_in_schema=False)
async def status() -> RedirectResponse:
    """Where the status page was before."""
    return RedirectResponse("./", 301)


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
    with model.open_workspace().db.read() as session:
        return {"versions": [current_version(session, project) for project in session.scalars(select(Project))]}
