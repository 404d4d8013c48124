"""Everything that the status page shows and does, as JSON: `/openapi.json` describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.background import BackgroundTask

import model
from learning.workspace import Workspace
from server import actions, checks, simulations, states
from server.download import archive
from server.queued import LONGEST, queue
from server.schemas import (
    Checks,
    Detail,
    Message,
    Pause,
    Projects,
    Queue,
    Rollback,
    Simulations,
    Suspects,
)
from server.security import POLICY_OF_REPORTS
from server.suspected import suspects

router = APIRouter(prefix="/api")


async def workspace() -> Workspace:
    """The one of this process."""
    return model.open_workspace()


Space = Annotated[Workspace, Depends(workspace)]
Wanted = Annotated[dict[str, Any], Body()]


@router.get("/projects", response_model=Projects)
def projects(space: Space) -> dict[str, Any]:
    """All projects at a glance."""
    return {"projects": states.summaries(space)}


@router.get("/projects/{key}", response_model=Detail)
def project(space: Space, key: str) -> dict[str, Any]:
    """One project: curve, scores, rounds, versions and settings. `key` is its key, or its number in Label Studio."""
    return states.detail(space, key)


@router.get("/projects/{key}/queue", response_model=Queue)
def next_tasks(space: Space, key: str, limit: Annotated[int, Query(ge=1, le=LONGEST)] = 50) -> dict[str, Any]:
    """What is to be labelled next, with the spans the model suggests and the words it is least sure of."""
    return queue(space, key, limit)


@router.get("/projects/{key}/suspects", response_model=Suspects)
def suspected_errors(space: Space, key: str) -> dict[str, Any]:
    """Annotations that may be wrong."""
    return suspects(space, key)


@router.get("/projects/{key}/checks", response_model=Checks)
def connection(space: Space, key: str) -> dict[str, Any]:
    """Whether the connection to Label Studio is as it should be, and what to do where it is not."""
    return {"checks": [one.as_json() for one in checks.checks(space, key)]}


@router.post("/projects/{key}/checks/{name}", response_model=Checks)
def mend(space: Space, key: str, name: str) -> dict[str, Any]:
    """Set right what one check found; answers with all checks anew."""
    checks.mend(space, key, name)
    return connection(space, key)


@router.post("/projects/{key}/round", response_model=Message)
def start_round(space: Space, key: str) -> dict[str, str]:
    """Train and rank now."""
    return {"message": actions.start_round(space, key)}


@router.post("/projects/{key}/pause", response_model=Message)
def pause(space: Space, key: str, wanted: Pause) -> dict[str, str]:
    """Begin no more rounds, or go on."""
    return {"message": actions.pause(space, key, wanted.paused)}


@router.post("/projects/{key}/settings", response_model=Message)
def change_settings(space: Space, key: str, wanted: Wanted) -> dict[str, str]:
    """Change settings in Label Studio's connection form: `{"strategy": "badge"}`; null takes one out of the form."""
    return {"message": actions.change_settings(space, key, wanted)}


@router.post("/projects/{key}/rollback", response_model=Message)
def roll_back(space: Space, key: str, wanted: Rollback) -> dict[str, str]:
    """Rank and serve with an earlier model again."""
    return {"message": actions.roll_back(space, key, wanted.version)}


@router.post("/projects/{key}/simulations", response_model=Message)
def simulate(space: Space, key: str, wanted: Wanted) -> dict[str, str]:
    """Compare strategies on what is labelled so far: `{}`, or any of `strategies`, `seeds`, `tagger`,
    `tagger_options`, `start`, `budget` and `rounds`."""
    return {"message": f"Simulation {simulations.ask(space, key, wanted)} will begin as soon as no other one runs."}


@router.get("/projects/{key}/simulations", response_model=Simulations)
def newest_simulations(space: Space, key: str) -> dict[str, Any]:
    """How they stand and what they came to, the latest first."""
    return {"simulations": simulations.newest_of(space, key)}


@router.get("/projects/{key}/simulations/{id}/report", response_class=HTMLResponse)
def simulation_report(space: Space, key: str, id: Annotated[int, Path(ge=1, lt=2**31)]) -> HTMLResponse:
    """Tables and curves of one that is done."""
    page = simulations.report(space, key, id)
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY_OF_REPORTS})


@router.get("/projects/{key}/versions/{version}/download", response_class=FileResponse)
def download(space: Space, key: str, version: str) -> FileResponse:
    """A model as its library reads it, with a model card, as a zip file."""
    file = archive(space, key, version)
    gone = BackgroundTask(file.unlink, missing_ok=True)
    return FileResponse(file, media_type="application/zip", filename=f"{version}.zip", background=gone)


@router.get("/events", response_class=EventSourceResponse)
async def events(request: Request) -> AsyncIterator[ServerSentEvent]:
    """An event `project` with its summary for each project at once, and later for each that changes."""
    async for changed in request.app.state.feed.listen():
        yield ServerSentEvent(event="project", data=changed)
