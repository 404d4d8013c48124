"""The scripted annotator takes what is served, answers with gold, and waits for each round."""

from collections.abc import Iterable
from typing import Any

import pytest

from corpus import Span
from demo import annotator
from demo.annotator import Round
from demo.process import DemoError

GOLD = {f"text {i}": (Span(0, 4, "LOC"),) * (i % 2) for i in range(10)}


class Served:
    """A project of ten tasks, of which the highest number is always served first."""

    def __init__(self, finishes_rounds: bool = True) -> None:
        self.queue = list(range(10))
        self.submitted: list[tuple[int, tuple[Span, ...]]] = []
        self.finishes_rounds = finishes_rounds

    def next_task(self, project: int) -> dict[str, Any] | None:
        assert project == 5
        return {"id": self.queue[-1], "data": {"text": f"text {self.queue[-1]}"}} if self.queue else None

    def submit(self, task: int, spans: Iterable[Span], seconds: float) -> None:
        assert task == self.queue.pop() and seconds >= 0
        self.submitted.append((task, tuple(spans)))

    def finished(self) -> list[Round]:
        """The cold start, and a round for each four annotations."""
        rounds = [Round(1, "cold start", "v1", 0, None, None, None, 1.0)]
        for count in range(4, len(self.submitted) + 1, 4) if self.finishes_rounds else ():
            rounds.append(Round(len(rounds) + 1, "rank", "v1", count, 0.5, 0.4, 0.6, 1.0))
            rounds.append(Round(len(rounds) + 1, "fit", "v1", count, 0.5, 0.4, 0.6, 1.0))
        return rounds


def run(served: Served, annotations: int) -> list[int]:
    rounds = annotator.simulate(served, 5, GOLD, served.finished, annotations, 4)  # type: ignore[arg-type]
    return [done.labelled for done in rounds]


def test_answers_with_gold_in_the_order_served() -> None:
    served = Served()
    assert run(served, 6) == [4]
    assert served.submitted == [(i, GOLD[f"text {i}"]) for i in (9, 8, 7, 6, 5, 4)]


def test_goes_on_where_an_earlier_run_stopped_and_ends_with_the_queue() -> None:
    served = Served()
    assert run(served, 4) == [4]
    assert run(served, 100) == [8]
    assert [task for task, _ in served.submitted] == list(range(9, -1, -1))
    assert run(served, 1) == []


def test_a_round_that_never_ends_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotator, "ROUND_SECONDS", 0.3)
    with pytest.raises(DemoError, match="no round was finished"):
        run(Served(finishes_rounds=False), 8)


def test_a_foreign_task_is_named() -> None:
    served = Served()
    with pytest.raises(DemoError, match="task 9 is none of the demo's texts"):
        list(annotator.simulate(served, 5, {}, served.finished, 4, 4))  # type: ignore[arg-type]


def status(**latest: object) -> dict[str, object]:
    """What the backend shows: a cold start, and a round after it."""
    cold = {
        "number": 1,
        "version": "v1",
        "kind": "cold start",
        "state": "done",
        "error": None,
        "seconds": 1.5,
        "metrics": {"train_sentences": 0, "holdout_sentences": 0, "evaluation": None},
    }
    return {"id": 3, "rounds": [cold | {"number": 2} | latest, cold]}


def test_reads_finished_rounds_oldest_first() -> None:
    metrics = {
        "train_sentences": 18,
        "holdout_sentences": 2,
        "evaluation": {"f1": 0.5, "low": 0.25, "high": 0.75, "method": "hold-out"},
    }
    fitted = Round(2, "fit", "v2", 20, 0.5, 0.25, 0.75, 1.5)
    shown = status(kind="fit", version="v2", metrics=metrics)
    assert annotator.finished_rounds(shown) == [
        Round(1, "cold start", "v1", 0, None, None, None, 1.5),
        fitted,
    ]
    assert annotator.finished_rounds({"rounds": []}) == []


def test_a_round_under_way_does_not_count_and_a_failed_one_is_reported() -> None:
    assert len(annotator.finished_rounds(status(state="running", metrics={}))) == 1
    with pytest.raises(DemoError, match="latest round failed: OSError: disk full"):
        annotator.finished_rounds(status(state="failed", error="OSError: disk full", metrics={}))
