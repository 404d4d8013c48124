"""One way of logging for the web processes, the trainer and its children."""

from __future__ import annotations

import logging


def set_up_logging(level: str) -> None:
    """Log our own messages at `level`, and libraries' warnings, to standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("active_tagger").setLevel(level.upper())
