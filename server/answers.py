"""What answers have in common: JSON that can always be sent, and errors in one sentence, whatever was asked."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

import model
from labelstudio.records import storable
from learning.settings import in_words

log = logging.getLogger("active_tagger")

SHOWN = 2_000
"""Characters of an error that are answered."""
LEVELS = 500
"""Of an answer: more than anything that is kept has."""


class Json(JSONResponse):
    """JSON in ASCII, so that half a surrogate pair in somebody's text is sent as it is kept; null where a number is not
    finite, for which JSON has no word."""

    def render(self, content: Any) -> bytes:
        try:
            text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(storable(content, LEVELS), allow_nan=False, separators=(",", ":"))
        return text.encode("ascii")


class Problem(BaseModel):
    """Why there is no other answer."""

    detail: str = Field(description="What was wrong and what to do, in words.")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {"application/json": {"schema": Problem.model_json_schema()}}}
    for status, meaning in {
        400: "The body is no JSON in UTF-8.",
        401: "User name and password are missing or wrong.",
        403: "Another site's page has asked.",
        404: "There is none.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        415: "The body is not sent as JSON.",
        421: "Nobody is served under this name without a password.",
        422: "It cannot be used.",
        500: "A fault of this backend.",
        503: "Too much at once, or nothing can be stored: ask again, see Retry-After.",
    }.items()
}
"""What every route may answer besides, in JSON even where its pages are not."""


def in_one_sentence(app: FastAPI) -> None:
    """Let `app` answer `Problem` for whatever goes wrong, never with a traceback or a path of this machine."""
    app.exception_handler(ValueError)(_unusable)
    app.exception_handler(UnicodeError)(_half_a_character)
    app.exception_handler(ValidationError)(_does_not_fit)
    app.exception_handler(RequestValidationError)(_does_not_fit)
    app.exception_handler(RecursionError)(_too_deep)
    app.exception_handler(DataError)(_too_large)
    app.exception_handler(LookupError)(_unknown)
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(Exception)(_our_fault)


async def _unusable(request: Request, error: ValueError) -> Json:
    """What was sent cannot be used; the message says why and what to do."""
    return _told(request, 422, str(error))


async def _half_a_character(request: Request, error: UnicodeError) -> Json:
    return _told(request, 422, "A text holds half a character (a lone surrogate) or is no UTF-8: write it anew.")


async def _does_not_fit(request: Request, error: ValidationError | RequestValidationError) -> Json:
    return _told(request, 422, in_words(error))  # type: ignore[arg-type]  # both have `errors`


async def _too_deep(request: Request, error: RecursionError) -> Json:
    return _told(request, 422, "The JSON is nested too deeply.")


async def _too_large(request: Request, error: DataError) -> Json:
    return _told(request, 422, "A number or text is one that the database cannot keep, such as a number above 2^31.")


async def _unknown(request: Request, error: LookupError) -> Json:
    """What was asked for is not here."""
    return _told(request, 404, str(error.args[0]) if error.args else "not found")


async def _refused(request: Request, error: HTTPException) -> Json:
    return Json({"detail": str(error.detail)}, error.status_code, error.headers)


async def _our_fault(request: Request, error: Exception) -> Json:
    """The server logs the traceback."""
    return Json({"detail": "Something went wrong in this backend; its log says what."}, 500)


def _told(request: Request, status: int, detail: str) -> Json:
    folder = model.open_workspace().settings.data_dir
    for path in {str(folder.absolute()), str(folder.resolve())}:
        detail = detail.replace(path, "DATA_DIR")
    log.warning("%s: %s", request.url.path, detail)
    return Json({"detail": detail if len(detail) <= SHOWN else f"{detail[:SHOWN]}…"}, status)
