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
from fastapi.responses import FileResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.staticfiles import StaticFiles

import model
from labelstudio.events import project_key
from learning import faults
from learning.database import Project, Round
from learning.fallback import model_or_older
from learning.migrations import UnusableDatabase
from learning.serving import current_version
from model import ActiveTagger
from server import api, telemetry, webhooks
from server.answers import PROBLEMS, Json, in_one_sentence
from server.events import Feed, ended_with_the_server
from server.limits import Limits
from server.logs import set_up_logging
from server.schemas import Asked, Due, Health, Introduced, Introduction, Predictions, Told, Versions
from server.security import Gate, SecurityHeaders, described

log = logging.getLogger("active_tagger")
Payload = dict[str, Any]
RETRY_AFTER = "10"
"""Seconds after which it is worth while to ask again, where the disk or the database did not take something."""
PAGES = Path(__file__).parent / "pages"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the workspace before the first request, and warm the models up behind it."""
    workspace = model.open_workspace()
    set_up_logging(workspace.settings.log_level, workspace.settings.log_format)
    threading.Thread(target=_warm_up, daemon=True).start()
    app.state.feed = Feed(workspace)
    with ended_with_the_server(app.state.feed):
        yield
    workspace.db.engine.dispose()


def _warm_up() -> None:
    """Do what the first request would have to wait for: imports that are put off, and loading the current models."""
    import label_studio_sdk.label_interface.interface  # noqa: F401

    workspace = model.open_workspace()
    webhooks.headers(workspace.settings)  # the secret, which takes a moment to derive
    with workspace.db.read() as session:
        current = select(Round.model_round_id).join(Project, Project.current_round_id == Round.id)
        for fitted in session.scalars(select(Round).where(Round.id.in_(current))):
            try:
                model_or_older(workspace.db, workspace.models, fitted.project_id, fitted.version)
            except Exception:
                log.exception("model %s could not be loaded", fitted.version)


# FastAPI's own documentation pages load scripts from elsewhere; the document itself is served below.
app = FastAPI(
    title="Active Tagger",
    lifespan=lifespan,
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    default_response_class=Json,
    responses=PROBLEMS,
)
app.add_middleware(Limits, max_body_mb=lambda: model.open_workspace().settings.max_body_mb)
app.add_middleware(Gate)  # outside of the limits: nothing of a request is read before
app.add_middleware(SecurityHeaders)
app.include_router(api.router)
in_one_sentence(app)
telemetry.mount(app)


@app.exception_handler(OSError)
@app.exception_handler(SQLAlchemyError)
@app.exception_handler(UnusableDatabase)
async def unwritable(request: Request, error: Exception) -> Json:
    """The disk or the database does not take it now: whoever sent it may send it again, and nothing half is kept."""
    said = faults.known(error)
    log.error("%s: answered 503: %s", request.url.path, said or repr(error), exc_info=None if said else error)
    return Json({"detail": said or "this cannot be stored now; see the log"}, 503, {"Retry-After": RETRY_AFTER})


@app.get("/", response_model=None, responses={200: {"model": Health, "content": {"text/html": {}}}})
async def root(request: Request) -> Response:
    """For people the status page; for programs the same as `/health`."""
    if "text/html" not in request.headers.get("accept", ""):
        return Json(await health(), headers={"Vary": "Accept"})
    return _page("index.html")


@app.get("/health", response_model=Health)
async def health() -> Payload:
    """Label Studio asks this before everything else and waits one second."""
    return {"status": "UP", "model_class": "ActiveTagger"}


@app.get("/project", include_in_schema=False)
async def project_page() -> FileResponse:
    """One project, `?key=…`."""
    return _page("project.html")


def _page(name: str) -> FileResponse:
    return FileResponse(PAGES / name, headers={"Cache-Control": "no-cache", "Vary": "Accept"})


_pages = StaticFiles(directory=PAGES)
_spec = find_spec("uplot")  # found without importing it: only its files are of use
_chart_files = StaticFiles(directory=Path(_spec.origin or "").parent / "static") if _spec else None


@app.get("/pages/{path:path}", include_in_schema=False)
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


@app.get("/openapi.json", include_in_schema=False)
def openapi() -> Payload:
    """What can be asked for, and what comes."""
    return described(app.openapi())


@app.get("/status", include_in_schema=False)
async def status() -> RedirectResponse:
    """Where the status page was before."""
    return RedirectResponse("./", 301)


@app.post("/setup", response_model=Introduced)
def setup(told: Introduction) -> Payload:
    """Label Studio introduces a project; answered with the version in use."""
    tagger = ActiveTagger(project_id=told.project, label_config=told.label_config)
    tagger.connect(told.hostname or "", told.access_token or "")
    tagger.set_extra_params(told.extra_params)
    return {"model_version": tagger.version}


@app.post("/predict", responses={200: {"model": Predictions}})
def predict(asked: Asked) -> Json:
    """One result per task, in their order."""
    tagger = ActiveTagger(project_id=asked.project, label_config=asked.label_config)
    return Json({"results": tagger.predict(asked.tasks, context=(asked.params or {}).get("context"))})


@app.post("/webhook", response_model=Due)
def webhook(told: Told) -> Payload:
    """An event, written down at once."""
    payload = {**(told.model_extra or {}), "project": told.project}
    key = project_key(told.project)
    try:
        return ActiveTagger(project_id=key).fit(told.action, payload)
    except LookupError:  # our database is newer than the connection: get to know the project now
        if not isinstance(told.project, dict):
            raise
        return ActiveTagger(project_id=key, label_config=told.project.get("label_config")).fit(told.action, payload)


@app.get("/versions", response_model=Versions)
def versions() -> Payload:
    """The versions in use, of all projects: Label Studio does not say which it means."""
    with model.open_workspace().db.read() as session:
        return {"versions": [current_version(session, project) for project in session.scalars(select(Project))]}
