"""The CRF over BIOES that speaks BIO: against brute force over all BIO paths and over all BIOES paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from corpus import Sentence, Span
from corpus.tags import encode
from taggers.chunk_crf import ChunkCRF, state_axis
from taggers.crf_maths import FORBIDDEN
from taggers.labels import bio_tags
from taggers.warm_start import Axis

STATES = ("O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y")
SENTENCE = Sentence.from_words(
    "s", list("abcdefgh"), (Span(0, 1, "X"), Span(2, 7, "X"), Span(10, 11, "Y"), Span(12, 15, "X"))
)
TAGS = bio_tags([SENTENCE])


def crf_of(seed: int = 0) -> ChunkCRF:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        crf = ChunkCRF(len(TAGS)).double()
        with torch.no_grad():
            for weight in crf.parameters():
                weight.copy_(torch.randn_like(weight).where(weight > FORBIDDEN, weight))
    return crf


def emissions(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, len(STATES), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def means_something(path: tuple[int, ...]) -> bool:
    """Whether every I goes on with what stands before it."""
    names = [TAGS[tag] for tag in path]
    return all(b[0] != "I" or a[2:] == b[2:] for a, b in itertools.pairwise(["O", *names]))


@torch.no_grad()
def bio_log_probs(crf: ChunkCRF, emissions_TS: Tensor) -> dict[tuple[int, ...], float]:
    """By the loss of each path alone."""
    T = len(emissions_TS)
    paths = [path for path in itertools.product(range(len(TAGS)), repeat=T) if means_something(path)]
    return {p: -T * crf.loss(emissions_TS[None], torch.tensor([T]), torch.tensor([p])).item() for p in paths}


@torch.no_grad()
def bioes_log_probs(crf: ChunkCRF, emissions_TS: Tensor) -> dict[tuple[str, ...], float]:
    """By the definition of a linear chain, over all paths that BIOES allows."""
    chain, scores = crf.chain, {}
    for path in itertools.product(range(len(STATES)), repeat=len(emissions_TS)):
        names = tuple(STATES[s] for s in path)
        steps = itertools.pairwise(["O", *names, "O"])
        if all((b[0] in "IE" and b[2:] == a[2:]) if a[0] in "BI" else b[0] in "OBS" for a, b in steps):
            score = chain.start_C[path[0]] + chain.stop_C[path[-1]]
            score = score + sum(emissions_TS[t, s] for t, s in enumerate(path))
            scores[names] = float(score + sum(chain.between_CC[a, b] for a, b in itertools.pairwise(path)))
    log_z = np.logaddexp.reduce(list(scores.values()))
    return {path: score - log_z for path, score in scores.items()}


def test_paths_have_the_probabilities_that_bioes_gives_their_spans() -> None:
    crf, emissions_TS = crf_of(), emissions(4)
    in_bio, in_bioes = bio_log_probs(crf, emissions_TS), bioes_log_probs(crf, emissions_TS)
    assert len(in_bio) == len(in_bioes)
    as_bio = {"S": "B", "E": "I"}
    for states, log_prob in in_bioes.items():
        path = tuple(TAGS.index(as_bio.get(s[0], s[0]) + s[1:]) for s in states)
        assert in_bio[path] == pytest.approx(log_prob, abs=1e-9)
    assert np.logaddexp.reduce(list(in_bio.values())) == pytest.approx(0, abs=1e-9)


def test_the_best_path_and_the_marginals_are_those_of_all_paths() -> None:
    crf, emissions_BTS = crf_of(), emissions(3, 4)
    lengths = [4, 1, 3]
    chains = crf.solve(emissions_BTS.numpy(), np.array(lengths))
    for b, n in enumerate(lengths):
        of_paths = bio_log_probs(crf, emissions_BTS[b, :n])
        best = max(of_paths, key=lambda path: of_paths[path])
        assert tuple(chains.path_BT[b, :n]) == best
        assert chains.log_prob_B[b] == pytest.approx(of_paths[best], abs=1e-9)
        for t, tag in itertools.product(range(n), range(len(TAGS))):
            mass = sum(np.exp(log_prob) for path, log_prob in of_paths.items() if path[t] == tag)
            assert chains.marginals_BTC[b, t, tag] == pytest.approx(mass, abs=1e-9)
    assert not chains.path_BT[1, 1:].any() and not chains.marginals_BTC[1, 1:].any()


def test_labelled_spans_become_the_states_of_the_scheme() -> None:
    """The loss of a labelled text is that of its BIOES tags, as `corpus.tags` gives them."""
    crf, emissions_BTS, lengths_B = crf_of(), emissions(1, 8), torch.tensor([8])
    tags_BT = torch.tensor([[TAGS.index(tag) for tag in encode(SENTENCE, "BIO").tags]])
    states_BT = torch.tensor([[STATES.index(tag) for tag in encode(SENTENCE, "BIOES").tags]])
    torch.testing.assert_close(
        crf.loss(emissions_BTS, lengths_B, tags_BT), crf.chain.loss(emissions_BTS, lengths_B, states_BT)
    )


def test_the_padding_changes_no_loss() -> None:
    """A text's last word ends its span, whatever stands behind."""
    crf, emissions_BTS, tags_BT = crf_of(), emissions(1, 3), torch.tensor([[0, 1, 2]])
    alone = crf.loss(emissions_BTS, torch.tensor([3]), tags_BT)
    wide_BTS = torch.cat([emissions_BTS, 1e3 * emissions(1, 4, seed=2)], dim=1)
    for rubbish in range(len(TAGS)):
        wide_tags_BT = torch.cat([tags_BT, torch.full((1, 4), rubbish)], dim=1)
        torch.testing.assert_close(crf.loss(wide_BTS, torch.tensor([3]), wide_tags_BT), alone)


def test_what_is_forbidden_stays_so_and_all_else_learns() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crf = ChunkCRF(len(TAGS))
        before = {name: weight.detach().clone() for name, weight in crf.named_parameters()}
        optimiser = torch.optim.Adam(crf.parameters(), 0.1)
        for _ in range(10):
            loss = crf.loss(torch.randn(4, 6, 9), torch.full((4,), 6), torch.tensor([[0, 1, 2, 2, 3, 0]] * 4))
            assert loss.item() < 100
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        paths = crf.solve(50 * torch.randn(300, 6, 9).double().numpy(), np.full(300, 6)).path_BT
    for name, weight in crf.named_parameters():
        assert torch.equal(weight == before[name], before[name] == FORBIDDEN)
    assert all(means_something(tuple(path)) for path in paths.tolist())
    steps = {pair for path in paths.tolist() for pair in itertools.pairwise(path)}
    assert len(steps) == 25 - 2 * 3, "I-X and I-Y may each not follow three others"


def test_rows_are_named_by_label_and_place_in_the_span() -> None:
    tags = Axis(TAGS, TAGS[:3])
    axis, crf = state_axis(tags), dict(crf_of().named_parameters())
    assert (tuple(axis.now), tuple(axis.before)) == (STATES, STATES[:5])
    axes = ChunkCRF.axes(tags)
    assert axes.keys() == crf.keys()
    assert all(tuple(len(axis.now) for axis in axes[name]) == crf[name].shape for name in crf)


def test_no_labels_at_all() -> None:
    crf = ChunkCRF(1)
    emissions_BTS, lengths_B = torch.randn(2, 3, 1), torch.tensor([3, 1])
    assert crf.loss(emissions_BTS, lengths_B, torch.zeros(2, 3, dtype=torch.int64)).item() == pytest.approx(0, abs=1e-6)
    assert crf.solve(emissions_BTS.double().numpy(), lengths_B.numpy()).log_prob_B.tolist() == [0, 0]
