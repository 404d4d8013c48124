"""The fixture that gives tests a real Label Studio."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.end_to_end.backend import RunningBackend, backend_of
from tests.end_to_end.label_studio import RunningLabelStudio, executable, shared


@pytest.fixture(scope="session")
def label_studio() -> RunningLabelStudio:
    """A real Label Studio, the same for every test of the run; tests make their own projects in it."""
    if executable() is None and "CI" not in os.environ:
        pytest.skip("no label-studio command: `make label-studio` installs it, or set LABEL_STUDIO_BIN")
    return shared()


@pytest.fixture(scope="module")
def backend(label_studio: RunningLabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBackend]:
    """A backend of the module's own, with the key to that Label Studio."""
    with backend_of(label_studio, tmp_path_factory.mktemp("backend")) as running:
        yield running
