"""What a process works on at the moment: the lines that it logs meanwhile carry it (`server.logs`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))


def about() -> Mapping[str, object]:
    """Its project, round and version, as far as they are known."""
    return _about.get()


def set_about(**known: object) -> None:
    """Add to it, to the end of this request, thread or `working_on`."""
    _about.set({**_about.get(), **known})


@contextmanager
def working_on(**known: object) -> Iterator[None]:
    """Only these, until the end of the block."""
    before = _about.set(known)
    try:
        yield
    finally:
        _about.reset(before)
