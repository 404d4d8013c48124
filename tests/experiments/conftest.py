from __future__ import annotations

import pytest

from experiments.corpora import Corpus
from experiments.plan import Plan
from experiments.results import open_run
from tests.learning.texts import texts


@pytest.fixture
def corpus() -> Corpus:
    everything = texts(160)
    return Corpus("small", everything[:120], everything[120:])


@pytest.fixture
def plan() -> Plan:
    return Plan(data="small", start="10 sentences", budget="60 words", rounds=3)


@pytest.fixture
def new_run(tmp_path, plan):
    def new_run(strategy="mnlp", seed=0, name="experiment", **changes):
        return open_run(tmp_path / name, plan.model_copy(update=changes), strategy, seed)

    return new_run
