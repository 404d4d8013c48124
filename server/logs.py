"""One way of logging for the web processes, the trainer and its children: lines for people, or JSON for machines."""

from __future__ import annotations

import json
import logging
import logging.config
import threading
import time
from typing import Any

from sqlalchemy.exc import DBAPIError

from learning import faults
from learning.context import about

AGAIN_AFTER = 60.0
"""Seconds in which the same warning or error is told once: what fails each time it is tried, fails many times."""
REMEMBERED = 1_000
"""Messages, at the most; then the memory begins anew."""


class Told(logging.Filter):
    """Gives each line what it is about; of warnings told again and again it lets one a minute pass, with their number.

    A fault of the disk or the database is told in words, without the traceback, which would say nothing more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        record.about = dict(about())
        error = record.exc_info[1] if record.exc_info else None
        said = faults.known(error) if error else None
        if error is not None and said and isinstance(error, OSError | DBAPIError):
            record.msg, record.args, record.exc_info, record.exc_text = f"{record.getMessage()}: {said}", (), None, None
        if record.levelno < logging.WARNING:
            return True
        return self._is_new(record, (record.name, record.getMessage(), repr(error)))

    def _is_new(self, record: logging.LogRecord, key: tuple[str, str, str]) -> bool:
        at = time.monotonic()
        with self._lock:
            told, kept_back = self._seen.get(key, (float("-inf"), 0))
            if at - told < AGAIN_AFTER:
                self._seen[key] = told, kept_back + 1
                return False
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            self._seen[key] = at, 0
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} (and {kept_back} times more before)", ()
        return True


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, and project, round, version and exception where known."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configuration(level: str, format: str = "text") -> dict[str, Any]:
    """For `logging.config`: our own messages at `level`, libraries' warnings, all to standard error.

    Gunicorn takes it as its `logconfig_dict`, and hands its own way of logging on to uvicorn.
    """
    server = {"level": "WARNING", "handlers": ["stderr"], "propagate": False}
    servers = ("gunicorn.error", "gunicorn.access", "uvicorn.error", "uvicorn.access")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"told": {"()": Told}},
        "formatters": {
            "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {"()": JsonLines},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": format,
                "filters": ["told"],
            }
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {"active_tagger": {"level": level.upper()}, **dict.fromkeys(servers, server)},
    }


def set_up_logging(level: str, format: str = "text") -> None:
    """Log as `configuration` says; Python's own warnings too."""
    logging.captureWarnings(True)
    logging.config.dictConfig(configuration(level, format))
