"""Batches, learning rate and best epoch, each against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from taggers.training import LEAST_EPOCHS, MOST_EPOCHS, BestEpoch, bucketed, epoch_plan, suited, warm_up_and_decay


def test_batches_hold_each_text_once_and_texts_of_like_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 997).tolist()
    batches = bucketed(lengths, 16, rng)
    assert sorted(i for batch in batches for i in batch) == list(range(997))
    assert max(map(len, batches)) == 16
    padding = sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches)
    assert padding < 0.05 * sum(lengths)
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest != sorted(longest) and batches != bucketed(lengths, 16, rng), "the order is not random"


@pytest.mark.parametrize("texts", [1, 3, 4, 5, 17, 100, 199, 200, 201, 799, 800, 5000])
def test_an_epoch_has_its_steps(texts: int) -> None:
    size, passes = epoch_plan(texts, 16, 50)
    steps = passes * -(-texts // size)
    assert 4 <= size <= 16 and steps >= 50
    assert passes == 1 or (size == 4 and steps - -(-texts // size) < 50), "more passes than are needed"
    assert size == 16 or -(-texts // (size + 1)) <= 50, "smaller batches than are needed"


def test_more_words_are_read_less_often_in_larger_steps() -> None:
    assert [suited(words)[0] for words in (4_000, 20_000, 204_000)] == [29, 15, 6]
    plans = [suited(words) for words in range(0, 10**6, 997)]
    for (epochs, size), (later_epochs, later_size) in itertools.pairwise(plans):
        assert later_epochs <= epochs and later_size >= size
    assert (plans[0][0], plans[-1][0]) == (MOST_EPOCHS, LEAST_EPOCHS)


def test_the_learning_rate_climbs_and_falls_linearly() -> None:
    shares = [warm_up_and_decay(step, 100) for step in range(101)]
    np.testing.assert_allclose(shares[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(shares[10:], np.linspace(1, 0, 91))
    assert [warm_up_and_decay(step, 1) for step in (0, 1)] == [1, 0]


def test_the_best_epoch_is_given_back_and_patience_ends() -> None:
    network = nn.Linear(1, 1, bias=False)
    best = BestEpoch(network, patience=2)
    for epoch, (f1, ends) in enumerate(
        [(0.2, False), (0.5, False), (0.1, False), (0.5, False), (0.4, False), (0.3, True)]
    ):
        nn.init.constant_(network.weight, epoch)
        assert best.ends(f1) is ends
    best.restore()
    assert network.weight.item() == 3  # the later one of the best two


def test_without_a_dev_set_the_last_epoch_stays() -> None:
    network = nn.Linear(1, 1, bias=False)
    best = BestEpoch(network, patience=1)
    for epoch in range(5):
        nn.init.constant_(network.weight, epoch)
        assert not best.ends(None)
    best.restore()
    assert network.weight.item() == 4


def test_what_does_not_learn_is_not_kept() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    network[0].requires_grad_(False)
    best = BestEpoch(network, patience=1)
    best.ends(0.5)
    with torch.no_grad():
        network[0].weight.fill_(7.0)
        network[1].weight.fill_(8.0)
    best.restore()
    assert network[0].weight.item() == 7 and network[1].weight.item() != 8
