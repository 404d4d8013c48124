"""The CRF layer against brute force over all paths, finite differences, plain autograd and `crf_maths`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from taggers import crf_maths
from taggers.crf_layer import CRFLayer, log_partition


def layer_of(tags: int, seed: int = 0, scale: float = 1.0) -> CRFLayer:
    layer = CRFLayer(tags).double()
    random = torch.Generator().manual_seed(seed)
    for weight in layer.parameters():
        weight.data = scale * torch.randn(weight.shape, generator=random, dtype=torch.float64)
    return layer


def batch_of(lengths: list[int], tags: int, seed: int = 1, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    emissions_BTC = scale * torch.randn(*shape, tags, generator=random, dtype=torch.float64)
    return emissions_BTC.requires_grad_(), torch.tensor(lengths), torch.randint(tags, shape, generator=random)


def path_scores(layer: CRFLayer, emissions_TC: Tensor) -> dict[tuple[int, ...], float]:
    """The score of every path, by the definition."""
    scores, emissions_TC = {}, emissions_TC.detach()
    for path in itertools.product(range(emissions_TC.shape[1]), repeat=len(emissions_TC)):
        score = layer.start_C[path[0]] + layer.stop_C[path[-1]]
        score = score + sum(emissions_TC[t, tag] for t, tag in enumerate(path))
        score = score + sum(layer.between_CC[a, b] for a, b in itertools.pairwise(path))
        scores[path] = float(score.detach())
    return scores


def weights(layer: CRFLayer) -> tuple[Tensor, Tensor, Tensor]:
    return layer.start_C, layer.between_CC, layer.stop_C


def test_the_loss_is_that_of_the_gold_paths_among_all_paths() -> None:
    layer, lengths = layer_of(3), [4, 1, 0, 5, 2]
    emissions_BTC, lengths_B, tags_BT = batch_of(lengths, 3)
    expected = 0.0
    for row, length in enumerate(lengths):
        if length:
            scores = path_scores(layer, emissions_BTC[row, :length])
            log_z = np.logaddexp.reduce(list(scores.values()))
            expected += log_z - scores[tuple(tags_BT[row, :length].tolist())]
    assert layer.loss(emissions_BTC, lengths_B, tags_BT).item() == pytest.approx(expected / 12, rel=1e-12)


def test_the_gradients_of_log_z_are_the_expected_counts_over_all_paths() -> None:
    layer = layer_of(3)
    emissions_BTC, lengths_B, _ = batch_of([4], 3)
    log_partition(emissions_BTC, lengths_B, *weights(layer)).backward()
    scores = path_scores(layer, emissions_BTC[0])
    log_z = np.logaddexp.reduce(list(scores.values()))
    tags_TC, steps_CC, starts_C, stops_C = np.zeros((4, 3)), np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    for path, score in scores.items():
        probability = np.exp(score - log_z)
        tags_TC[range(4), path] += probability
        starts_C[path[0]] += probability
        stops_C[path[-1]] += probability
        for a, b in itertools.pairwise(path):
            steps_CC[a, b] += probability
    np.testing.assert_allclose(emissions_BTC.grad[0], tags_TC, rtol=1e-10)
    np.testing.assert_allclose(layer.start_C.grad, starts_C, rtol=1e-10)
    np.testing.assert_allclose(layer.between_CC.grad, steps_CC, rtol=1e-10)
    np.testing.assert_allclose(layer.stop_C.grad, stops_C, rtol=1e-10)


@pytest.mark.parametrize("tags", [1, 2, 4])
def test_gradients_agree_with_finite_differences(tags: int) -> None:
    layer = layer_of(tags)
    emissions_BTC, lengths_B, tags_BT = batch_of([3, 0, 5, 1], tags)

    def loss(emissions_BTC: Tensor, start_C: Tensor, between_CC: Tensor, stop_C: Tensor) -> Tensor:
        # A layer whose parameters are the tensors that gradcheck moves.
        moved = CRFLayer(tags)
        moved._parameters = {"start_C": start_C, "between_CC": between_CC, "stop_C": stop_C}  # type: ignore[assignment]
        return 3 * moved.loss(emissions_BTC, lengths_B, tags_BT)

    assert torch.autograd.gradcheck(loss, (emissions_BTC, *weights(layer)))


def test_padding_changes_neither_loss_nor_gradients() -> None:
    layer = layer_of(4)
    emissions_BTC, lengths_B, tags_BT = batch_of([3, 0, 7], 4)
    loss = layer.loss(emissions_BTC, lengths_B, tags_BT)
    gradients = torch.autograd.grad(loss, [emissions_BTC, *layer.parameters()])
    inside_BT = torch.arange(12) < lengths_B[:, None]
    for rubbish in (0.0, 1e30, float("inf"), float("nan")):
        wide_BTC = torch.full((3, 12, 4), rubbish, dtype=torch.float64)
        wide_BTC[inside_BT] = emissions_BTC.detach()[inside_BT[:, :7]]
        wide_tags_BT = torch.full((3, 12), 99)
        wide_tags_BT[inside_BT] = tags_BT[inside_BT[:, :7]]
        again = layer.loss(wide_BTC.requires_grad_(), lengths_B, wide_tags_BT)
        of_emissions, *of_layer = torch.autograd.grad(again, [wide_BTC, *layer.parameters()])
        torch.testing.assert_close(again, loss, rtol=1e-13, atol=0)
        torch.testing.assert_close(of_emissions[:, :7], gradients[0], rtol=1e-12, atol=1e-16)
        assert not of_emissions[~inside_BT].any()
        torch.testing.assert_close(of_layer, list(gradients[1:]), rtol=1e-12, atol=1e-15)


def test_a_sentence_does_not_change_with_its_company() -> None:
    layer, lengths = layer_of(4), [5, 1, 9]
    emissions_BTC, lengths_B, tags_BT = batch_of(lengths, 4)
    together = layer.loss(emissions_BTC, lengths_B, tags_BT) * sum(lengths)
    alone = [
        layer.loss(emissions_BTC[i : i + 1, :n], torch.tensor([n]), tags_BT[i : i + 1, :n]) * n
        for i, n in enumerate(lengths)
    ]
    torch.testing.assert_close(together, sum(alone))


def test_it_agrees_with_the_chains_that_decode() -> None:
    layer = layer_of(5, scale=2)
    emissions_BTC, lengths_B, _ = batch_of([30, 1, 17], 5, scale=3)
    chains = crf_maths.solve(emissions_BTC.detach().numpy(), lengths_B.numpy(), layer.transitions())
    best_BT = torch.from_numpy(chains.path_BT)
    loss = layer.loss(emissions_BTC, lengths_B, best_BT)
    assert loss.item() * 48 == pytest.approx(-chains.log_prob_B.sum(), rel=1e-10)
    log_partition(emissions_BTC, lengths_B, *weights(layer)).backward()
    np.testing.assert_allclose(emissions_BTC.grad, chains.marginals_BTC, atol=1e-12)


def test_its_best_path_is_that_of_an_exhaustive_search() -> None:
    layer = layer_of(3)
    emissions_BTC, lengths_B, _ = batch_of([6], 3)
    scores = path_scores(layer, emissions_BTC[0])
    chains = crf_maths.solve(emissions_BTC.detach().numpy(), lengths_B.numpy(), layer.transitions())
    assert tuple(chains.path_BT[0].tolist()) == max(scores, key=lambda path: scores[path])


def plain_log_z(emissions_TC: Tensor, layer: CRFLayer) -> Tensor:
    """log Z of one sentence as autograd follows it."""
    reached_C = layer.start_C + emissions_TC[0]
    for emission_C in emissions_TC[1:]:
        reached_C = torch.logsumexp(reached_C[:, None] + layer.between_CC, dim=0) + emission_C
    return torch.logsumexp(reached_C + layer.stop_C, dim=0)


def test_very_long_sentences_and_large_scores_stay_exact() -> None:
    layer = layer_of(4, scale=5)
    emissions_BTC, lengths_B, _ = batch_of([3000], 4, scale=40)
    log_z = log_partition(emissions_BTC, lengths_B, *weights(layer))
    parts = [emissions_BTC, *weights(layer)]
    gradients = torch.autograd.grad(log_z, parts)
    expected = plain_log_z(emissions_BTC[0], layer)
    torch.testing.assert_close(log_z, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, parts), rtol=1e-8, atol=1e-9)


def test_float32_is_as_good_as_its_numbers() -> None:
    layer = layer_of(9)
    emissions_BTC, lengths_B, tags_BT = batch_of([200, 3], 9, scale=10)
    exact = layer.loss(emissions_BTC, lengths_B, tags_BT)
    loss = layer.float().loss(emissions_BTC.float(), lengths_B, tags_BT)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


def test_emissions_in_bfloat16_lose_no_more_than_their_own_digits() -> None:
    layer = layer_of(9)
    emissions_BTC, lengths_B, tags_BT = batch_of([40, 3], 9)
    halved_BTC = emissions_BTC.detach().bfloat16().requires_grad_()
    loss = layer.float().loss(halved_BTC, lengths_B, tags_BT)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(layer.loss(halved_BTC.float(), lengths_B, tags_BT).item(), rel=1e-6)
    loss.backward()
    assert halved_BTC.grad is not None and halved_BTC.grad.dtype == torch.bfloat16


def test_scores_beyond_all_measure_give_numbers() -> None:
    layer = layer_of(3)
    layer.between_CC.data[0, 1] = -10_000
    emissions_BTC, lengths_B, tags_BT = batch_of([6, 2], 3, scale=1e4)
    loss = layer.loss(emissions_BTC, lengths_B, tags_BT)
    gradients = torch.autograd.grad(loss, [emissions_BTC, *layer.parameters()])
    assert loss >= 0
    assert all(bool(gradient.isfinite().all()) and gradient.abs().max() <= 1 for gradient in gradients)


def test_with_one_tag_there_is_nothing_to_lose() -> None:
    loss = layer_of(1).loss(*batch_of([4, 1], 1))
    assert abs(loss.item()) < 1e-12


@pytest.mark.parametrize("shape", [(0, 0), (2, 0), (2, 3)])
def test_no_words_cost_nothing(shape: tuple[int, int]) -> None:
    emissions_BTC = torch.zeros(*shape, 3, requires_grad=True)
    loss = CRFLayer(3).loss(emissions_BTC, torch.zeros(shape[0], dtype=torch.long), torch.zeros(shape).long())
    loss.backward()
    assert loss.item() == 0
    assert emissions_BTC.grad is not None and not emissions_BTC.grad.any()


def test_steps_that_never_occur_are_unlearned() -> None:
    torch.manual_seed(0)
    layer = CRFLayer(2)
    tags_BT = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        layer.loss(torch.zeros(2, 4, 2), torch.tensor([4, 4]), tags_BT).backward()
        optimizer.step()
    transitions = layer.transitions()
    assert transitions.between_CC.dtype == np.float64
    chains = crf_maths.solve(np.array([[[3.0, 0], [0, 0], [0, 0]]]), np.array([3]), transitions)
    assert chains.path_BT.tolist() == [[0, 1, 0]]
    assert float(np.exp(chains.log_prob_B[0])) > 0.9
