"""Warm starts against their definition: a weighted mean of the earlier and the fresh weights, row by row."""

import pytest
import torch
from torch import nn

from taggers.warm_start import SHARE, Axis, shrink_and_perturb


class Net(nn.Module):
    def __init__(self, words: int, tags: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(words, 3)
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, tags)
        self.between = nn.Parameter(torch.randn(tags, tags))


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in net.named_parameters()}


def test_same_shapes_are_a_weighted_mean():
    with torch.random.fork_rng():
        earlier, fresh = weights(Net(5, 3, 0)), Net(5, 3, 1)
    before = weights(fresh)
    shrink_and_perturb(fresh, earlier)
    for name, weight in fresh.named_parameters():
        torch.testing.assert_close(weight.detach(), SHARE * earlier[name] + (1 - SHARE) * before[name])


def test_rows_are_matched_by_name_and_new_ones_stay_fresh():
    with torch.random.fork_rng():
        earlier, fresh = weights(Net(4, 3, 0)), Net(3, 5, 1)
    before = weights(fresh)
    tags = Axis(now=("O", "B-LOC", "I-LOC", "B-PER", "I-PER"), before=("O", "B-PER", "I-PER"))
    words = Axis(now=["", "sea", "ship"], before=["", "ship", "boat", "old"])
    axes = {"words.weight": [words], "head.weight": [tags], "head.bias": [tags], "between": [tags, tags]}
    shrink_and_perturb(fresh, earlier, axes)
    now = weights(fresh)
    for new, old in {0: 0, 3: 1, 4: 2}.items():
        expected = SHARE * earlier["head.weight"][old] + (1 - SHARE) * before["head.weight"][new]
        torch.testing.assert_close(now["head.weight"][new], expected)
        for other_new, other_old in {0: 0, 3: 1, 4: 2}.items():
            expected = SHARE * earlier["between"][old, other_old] + (1 - SHARE) * before["between"][new, other_new]
            torch.testing.assert_close(now["between"][new, other_new], expected)
    for name, new in (("head.weight", [1, 2]), ("head.bias", [1, 2]), ("between", [1, 2]), ("words.weight", [1])):
        torch.testing.assert_close(now[name][new], before[name][new])
    torch.testing.assert_close(now["between"][0, 1], before["between"][0, 1])
    expected = SHARE * earlier["words.weight"][1] + (1 - SHARE) * before["words.weight"][2]
    torch.testing.assert_close(now["words.weight"][2], expected)


def test_what_the_earlier_model_lacks_stays_and_other_shapes_are_refused():
    with torch.random.fork_rng():
        fresh = Net(5, 3, 1)
    before = weights(fresh)
    shrink_and_perturb(fresh, {})
    assert all(torch.equal(weight, before[name]) for name, weight in fresh.named_parameters())
    with pytest.raises(ValueError, match=r"body.weight.*\(4, 3\) now, \(9, 3\) before"):
        shrink_and_perturb(fresh, {"body.weight": torch.zeros(9, 3)})
