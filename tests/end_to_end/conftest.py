"""The fixture that gives tests a real Label Studio."""

from __future__ import annotations

import os

import pytest

from tests.end_to_end.label_studio import RunningLabelStudio, executable, shared


@pytest.fixture(scope="session")
def label_studio() -> RunningLabelStudio:
    """A real Label Studio, the same for every test of the run; tests make their own projects in it."""
    if executable() is None and "CI" not in os.environ:
        pytest.skip("no label-studio command: `make label-studio` installs it, or set LABEL_STUDIO_BIN")
    return shared()
