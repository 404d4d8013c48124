"""For all tests."""

import pytest

import taggers  # noqa: F401  (before anything imports torch: see OMP_WAIT_POLICY there)
from taggers import vector_store


@pytest.fixture(autouse=True)
def vectors_of_its_own():
    """No test finds vectors that another one has kept."""
    before = vector_store.kept_in()
    yield
    vector_store.keep_in(before)
