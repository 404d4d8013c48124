"""Texts in batches of like length, and several batches at a time."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from corpus import Sentence, Word
from taggers.reading import TextBatch, side_by_side, text_batches, word_places
from taggers.transformer import TransformerTagger
from tests.taggers.tiny import encoder, fitted, one_thread, texts, train  # noqa: F401  (fixtures)


@pytest.fixture
def two_threads(one_thread: None) -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_results_come_in_order_and_items_at_a_time(two_threads: None) -> None:
    """Two items wait for each other, so they can only be worked on together; later ones are done sooner."""
    together, threads = threading.Barrier(2, timeout=20), set()

    def work(item: int) -> tuple[int, int]:
        threads.add(threading.get_ident())
        if item < 2:
            together.wait()
        time.sleep(0.02 / (1 + item % 3))
        return item, torch.get_num_threads()

    assert [*side_by_side(work, iter(range(20)))] == [(item, 1) for item in range(20)]
    assert len(threads) == 2 and threading.get_ident() not in threads
    assert torch.get_num_threads() == 2


def test_a_single_item_has_all_threads(two_threads: None) -> None:
    found = list(side_by_side(lambda item: (item, torch.get_num_threads(), threading.get_ident()), iter("a")))
    assert found == [("a", 2, threading.get_ident())]
    assert list(side_by_side(str, iter([]))) == []


def test_items_are_taken_as_they_are_needed(two_threads: None) -> None:
    """A large pool streams, and what nobody asks for is not worked on."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = side_by_side(lambda item: item, items())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 12


def test_errors_pass_through_and_leave_no_thread(two_threads: None) -> None:
    def fail(item: int) -> int:
        if item == 3:
            raise OSError("no disk")
        return item

    before = threading.active_count()
    with pytest.raises(OSError, match="no disk"):
        list(side_by_side(fail, iter(range(100))))
    assert threading.active_count() == before and torch.get_num_threads() == 2


def test_a_new_thread_has_as_many_threads_as_before(two_threads: None) -> None:
    list(side_by_side(str, iter(range(5))))
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [2]


@pytest.mark.parametrize("passes", [0, 3])
def test_tagging_side_by_side_says_the_same(
    fitted: TransformerTagger, texts: list[Sentence], two_threads: None, passes: int
) -> None:
    pool = texts * 20
    together = list(fitted.infer(pool, passes=passes))
    assert len(together) > 4
    torch.set_num_threads(1)
    for ours, theirs in zip(together, fitted.infer(pool, passes=passes), strict=True):
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        np.testing.assert_allclose(ours.marginals_BTC, theirs.marginals_BTC, atol=1e-5)
        if passes:
            assert ours.samples_BMTC is not None and theirs.samples_BMTC is not None
            np.testing.assert_allclose(ours.samples_BMTC, theirs.samples_BMTC, atol=1e-5)


@dataclass(frozen=True)
class Some:
    """A few words of a text, which cost as much as they have letters."""

    start: int
    texts: list[str]

    def __len__(self) -> int:
        return sum(map(len, self.texts))

    @property
    def words(self) -> int:
        return len(self.texts)


class Letters:
    """Reads texts by threes of words."""

    def read(self, texts: Sequence[Sequence[Word]]) -> list[list[Some]]:
        return [[Some(n, [word.text for word in words[n : n + 3]]) for n in range(0, len(words), 3)] for words in texts]


def test_batches_hold_every_text_once_within_the_budget() -> None:
    rng = np.random.default_rng(0)
    pool = [Sentence.from_text(str(n), " ".join(["ab"] * size)) for n, size in enumerate(rng.integers(0, 40, 300))]
    batches = list(text_batches(Letters(), pool, 100))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(300))
    for batch in batches:
        longest = max(2 * len(pool[i]) for i in batch.indices)
        assert len(batch.indices) == 1 or len(batch.indices) * longest <= 100
        assert batch.lengths.tolist() == [len(pool[i]) for i in batch.indices]


def test_word_places_are_those_of_the_words() -> None:
    pool = [Sentence.from_text("1", "a b c d e f g"), Sentence.from_text("2", ""), Sentence.from_text("3", "h i j k")]
    (batch,) = text_batches(Letters(), pool, 1000)
    assert isinstance(batch, TextBatch)
    b_N, t_N = word_places(batch.rows())
    found = [pool[batch.indices[b]].words[t].text for b, t in zip(b_N, t_N, strict=True)]
    assert found == [*"hijk", *"abcdefg"]
    b_N, t_N = word_places(batch.rows()[1:3])  # the last of "hijk", and "abc"
    assert [pool[batch.indices[b]].words[t].text for b, t in zip(b_N, t_N, strict=True)] == [*"kabc"]
