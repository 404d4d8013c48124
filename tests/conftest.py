"""For all tests."""

import pytest

import taggers  # noqa: F401  (before anything imports torch: see OMP_WAIT_POLICY there)
from taggers import vector_store


@pytest.fixture(autouse=True)
def vectors_of_its_own():
    """No test finds vectors that another one has kept."""
    vector_store.keep_in(None)  # a fixture of a whole module may have opened a workspace, which keeps them
    yield
    vector_store.keep_in(None)
