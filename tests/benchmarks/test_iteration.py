"""What is read off a round that was watched."""

from __future__ import annotations

import pytest

from benchmarks.iteration import steps
from benchmarks.live import Moment

pytestmark = pytest.mark.slow

ANNOTATED = 100.0
SEEN = [
    Moment(90.0, 1, "done publish", "v1"),
    Moment(100.5, 2, "", "v1"),
    Moment(100.6, 2, "collect", "v1"),
    Moment(102.0, 2, "fit", "v1"),
    Moment(103.0, 2, "store", "v1"),
    Moment(103.5, 2, "publishing store", "v1"),
    Moment(104.0, 2, "publishing publish", "v1"),
    Moment(107.0, 2, "publishing publish", "v2"),
    Moment(120.0, 2, "done publish", "v2"),
    Moment(130.0, 3, "collect", "v2"),
]


def test_every_second_belongs_to_one_step() -> None:
    found = steps(SEEN, 2, ANNOTATED)
    assert found == pytest.approx(
        {
            "wake up": 0.5,
            "collect": 1.5,
            "fit": 1.0,
            "store": 1.0,
            "publish, to the switch": 3.0,
            "publish, the rest": 13.0,
            "ROUND STORED": 3.5,
            "QUEUE RE-ORDERED": 7.0,
            "EVERYTHING THERE": 20.0,
        }
    )
    assert sum(seconds for name, seconds in found.items() if not name.isupper()) == pytest.approx(20.0)
