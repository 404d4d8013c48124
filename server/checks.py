"""The connection check: what must be so for a project's queue to be served in order, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sqlalchemy import select

from labelstudio.client import LabelStudio, LabelStudioError, Unreachable
from labelstudio.errors import HOW_TO_GET_A_TOKEN
from learning import faults
from learning.database import Project, Round
from learning.intake import known_project
from learning.serving import UNTRAINED, current_version
from learning.workspace import Workspace
from server.connection import Access, access
from server.judgements import JUDGEMENTS, MENDABLE, Known, Verdict
from server.machine import CHECKS, Here, in_two

PATIENCE = 5.0
"""Seconds allowed to Label Studio: once for its address and token, and once for all other questions together."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `ok` is None where it cannot be told, `remedy` is there where something is wrong."""

    name: str
    title: str
    ok: bool | None
    text: str
    remedy: str | None = None
    mendable: bool = False
    """Whether `mend` can do what the remedy says."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def checks(workspace: Workspace, project_key: str | None) -> list[Check]:
    """All checks of a project; without one only those that need none. Takes `PATIENCE` three times at the most.

    Raises LookupError for an unknown project.
    """
    project, version, versions = _project(workspace, project_key) if project_key is not None else (None, "", set())
    way = access(workspace.settings, project.connection if project else {})
    client, reached = _reach(way)
    found = [_address(way, client, reached), _token(way, reached)]
    if project is not None:
        answers = _answers(client, project.external_id) if reached is None and client else {}
        if answers.get("may_change") is False:
            found[-1] = _may_not_change(found[-1])
        known = Known(project, version, versions, workspace.settings, answers)
        found += [Check(name, title, *judge(known)) for name, title, judge in JUDGEMENTS]
    return [*found, *_machine(Here(workspace, project, client if reached is None else None))]


def mend(workspace: Workspace, project_key: str, name: str) -> None:
    """Do what the remedy of a mendable check says, in Label Studio.

    Raises LookupError for an unknown project or check; ValueError, in words, where it cannot be done.
    """
    project, version, versions = _project(workspace, project_key)
    if name not in MENDABLE:
        raise LookupError(f"there is nothing named {name!r} that could be set from here; known: {', '.join(MENDABLE)}")
    client, reached = _reach(access(workspace.settings, project.connection))
    if client is None or reached is not None:
        raise ValueError(str(reached or "no address or token of Label Studio is known"))
    known = Known(project, version, versions, workspace.settings, _answers(client, project.external_id))
    title, judge = next((title, judge) for check, title, judge in JUDGEMENTS if check == name)
    verdict = judge(known)
    if verdict.ok is True:
        return
    if not verdict.mendable:
        raise ValueError(f"{title}: this cannot be set from here. {verdict.text} {verdict.remedy or ''}".rstrip())
    try:
        MENDABLE[name](client, known)
    except LabelStudioError as error:
        raise ValueError(str(error)) from None


def _project(workspace: Workspace, key: str) -> tuple[Project, str, set[str]]:
    """A project, the version it is at, and all that it has had."""
    with workspace.db.read() as session:
        project = known_project(session, key)
        made = select(Round.version).where(Round.project_id == project.id)
        return project, current_version(session, project), {UNTRAINED, *session.scalars(made)}


# -- asking Label Studio ------------------------------------------------------------------------------------


def _reach(way: Access) -> tuple[LabelStudio | None, LabelStudioError | None]:
    """A client, if there is an address and a token; and why it does not serve, if it does not."""
    try:
        client = way.client(PATIENCE)
    except LabelStudioError as error:
        return None, error
    if client is None:
        return None, None
    answer = _in_time({"": client.check})[""]
    return client, answer if isinstance(answer, LabelStudioError) else None


def _answers(client: LabelStudio, project_id: int) -> dict[str, Any]:
    """What the judgements need, or the error that came instead: all asked for at once."""
    questions = ("project", "may_change", "ml_backends", "webhooks", "tab", "model_versions")
    return _in_time({name: partial(getattr(client, name), project_id) for name in questions})


def _in_time(questions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Each answer, or the error that came instead: also for what takes longer than `PATIENCE`, such as a name server
    that is gone, for which no client's own limit holds."""
    pool = ThreadPoolExecutor(len(questions))
    asked = {name: pool.submit(question) for name, question in questions.items()}
    done, _ = wait(asked.values(), PATIENCE)
    pool.shutdown(wait=False, cancel_futures=True)
    late = Unreachable(f"no answer within {PATIENCE:.0f} s; Label Studio is busy, or not to be reached")
    found: dict[str, Any] = {}
    for name, future in asked.items():
        if future not in done:
            found[name] = late
        elif not isinstance(error := future.exception(), KeyError | TypeError | AttributeError):
            found[name] = error or future.result()
        else:  # JSON, but not the kind that Label Studio sends
            found[name] = Unreachable("the answer cannot be understood; is this a Label Studio?")
    return found


# -- what needs no project ----------------------------------------------------------------------------------


def _address(way: Access, client: LabelStudio | None, reached: LabelStudioError | None) -> Check:
    check = partial(Check, "address", "Label Studio can be reached")
    if not way.url:
        remedy = "Set LABEL_STUDIO_URL, for example to http://localhost:8080, and start this backend again."
        return check(False, "The address of Label Studio is not known.", remedy)
    if isinstance(reached, Unreachable):
        remedy = "Start Label Studio, or set LABEL_STUDIO_URL to an address at which this machine reaches it."
        return check(False, _sentence(reached, "; "), remedy)
    if client is None:
        return check(None, "It has not been asked: there is no usable token.")
    return check(True, f"Label Studio answers at {client.url}.")


def _token(way: Access, reached: LabelStudioError | None) -> Check:
    check = partial(Check, "token", "Label Studio accepts the token")
    remedy = f"{HOW_TO_GET_A_TOKEN[0].upper()}{HOW_TO_GET_A_TOKEN[1:]}; then start this backend again."
    if not way.token:
        return check(False, "There is no token, so Label Studio cannot be told the order of the queue.", remedy)
    if isinstance(reached, Unreachable):
        return check(None, "This cannot be told before Label Studio is reached.")
    if reached is not None and way.lent:
        what = "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set, and the token that Label Studio lent"
        return check(False, f"{what} when it was connected is not accepted, which is usual.", remedy)
    if reached is not None:
        return check(False, _sentence(reached, HOW_TO_GET_A_TOKEN), remedy)
    return check(True, "The token lent by Label Studio is accepted." if way.lent else "The token is accepted.")


def _may_not_change(token: Check) -> Check:
    what = "The token is accepted, but its user may not change this project."
    remedy = "Set LABEL_STUDIO_API_KEY to the token of a user who may change it, and start this backend again."
    return Check(token.name, token.title, False, what, remedy)


def _machine(here: Here) -> list[Check]:
    """All at once; one that does not end in time cannot tell, or where it wants to write, does not get its turn."""
    answers = _in_time({name: partial(judge, here) for name, _, judge in CHECKS})
    late = {"database": in_two(faults.LOCKED)}
    found = []
    for name, title, _ in CHECKS:
        verdict = answers[name]
        if isinstance(verdict, Unreachable):
            verdict = late.get(name, Verdict(None, "There was no answer in time."))
        elif isinstance(verdict, Exception):
            verdict = Verdict(None, f"It could not be looked at ({type(verdict).__name__}).")
        found.append(Check(name, title, *verdict))
    return found


def _sentence(error: Exception, until: str) -> str:
    """An error as a sentence, without its remedy, which stands by itself."""
    return f"{str(error).partition(until)[0].rstrip(' ;:.')}."
