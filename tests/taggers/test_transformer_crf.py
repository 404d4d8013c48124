"""The transformer tagger with a CRF: what it says against all paths, one by one."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.special import logsumexp

from corpus import Inference, Sentence, Span
from taggers.chunk_crf import states_of
from taggers.transformer import TransformerTagger
from tests.taggers.tiny import (  # noqa: F401  (fixtures)
    by_sentence,
    encoder,
    labelled,
    one_thread,
    tagger_of,
    texts,
    train,
)


@pytest.fixture(scope="module", params=["embeddings", True], ids=["fine-tuned", "frozen"])
def chained(request: pytest.FixtureRequest, encoder: str, train: list[Sentence]) -> TransformerTagger:
    tagger = tagger_of(encoder, crf=True, freeze=request.param, epochs=6, learning_rate=5e-3)
    tagger.fit(train, [])
    return tagger


def paths(tagger: TransformerTagger, hidden: np.ndarray, folder: Path) -> dict[tuple[int, ...], float]:
    """Every path of a text and its log-probability, from the weights as they are stored, which speak of BIOES."""
    if not (folder / "model").exists():
        tagger.save(folder / "model")
    weights = load_file(folder / "model" / "head.safetensors")
    emissions = (hidden @ weights["head.weight"].T + weights["head.bias"]).astype(float)
    between, start, stop = (weights[f"crf.chain.{name}"] for name in ("between_CC", "start_C", "stop_C"))
    states = states_of(tagger.tags)
    tag_of = [tagger.tags.index({"S": "B", "E": "I"}.get(state[0], state[0]) + state[1:]) for state in states]
    scores = {
        path: sum(emissions[t, tag] for t, tag in enumerate(path))
        + sum(between[a, b] for a, b in itertools.pairwise(path))
        + start[path[0]]
        + stop[path[-1]]
        for path in itertools.product(range(len(states)), repeat=len(hidden))
    }
    log_z = logsumexp(list(scores.values()))
    every: dict[tuple[int, ...], float] = {}
    for path, score in scores.items():
        tags = tuple(tag_of[state] for state in path)
        every[tags] = np.logaddexp(every.get(tags, -np.inf), score - log_z)
    return every


def test_path_probability_and_marginals_against_all_paths(chained: TransformerTagger, tmp_path: Path) -> None:
    some = [Sentence.from_text(str(n), text) for n, text in enumerate(["Ada", "Lima saw", "the Ada near Lima ."])]
    for path, log_prob, marginals, hidden in by_sentence(list(chained.infer(some))).values():
        every = paths(chained, hidden, tmp_path)
        best = max(every, key=lambda path: every[path])
        assert tuple(path) == best
        assert log_prob == pytest.approx(every[best], abs=1e-4)
        expected = np.zeros_like(marginals, dtype=float)
        for path_, chance in every.items():
            expected[range(len(path)), path_] += np.exp(chance)
        np.testing.assert_allclose(marginals, expected, atol=1e-5)


def test_it_learns_what_there_is_to_learn(chained: TransformerTagger, train: list[Sentence]) -> None:
    assert chained.predict([s.unlabelled() for s in train]) == [sorted(s.spans or ()) for s in train]


def test_a_text_of_many_passages_is_one_chain(chained: TransformerTagger, texts: list[Sentence]) -> None:
    """A step that nothing can take shows at every edge between passages, as anywhere."""
    long = Sentence.from_text("long", " ".join(f"{name} saw the sea" for name in ["Ada", "Grace", "Emmy"] * 40))
    crf = chained._fitted().crf
    assert crf is not None
    kept = crf.chain.between_CC.detach().clone()
    forbidden = chained.tags.index("O")
    try:
        with torch.no_grad():
            crf.chain.between_CC[forbidden, forbidden] = -1e4
        (batch,) = chained.infer([long])
        ((path, log_prob, marginals, _),) = by_sentence([batch]).values()
        outside = path == forbidden
        assert outside.any() and not (outside[1:] & outside[:-1]).any()
        assert log_prob <= np.log(marginals[range(len(path)), path]).min() + 1e-6
    finally:
        with torch.no_grad():
            crf.chain.between_CC.copy_(kept)


def test_neighbouring_tags_are_chosen_together(encoder: str) -> None:
    """The second of two equal words is inside the first one's span, whatever the words: independent tags cannot know
    where a span began, for both words look the same."""
    data = [
        labelled(f"{n}", f"the {word} {word} sea", X=f"{word} {word}") for n, word in enumerate(["Lima", "Hue"] * 6)
    ]
    tagger = tagger_of(encoder, crf=True, epochs=10)
    tagger.fit(data, [])
    for batch in tagger.infer(data):
        said = [tuple(batch.tags[tag] for tag in path) for path in batch.path_BT]
        assert set(said) == {("O", "B-X", "I-X", "O")}
    assert tagger.predict(data[:1]) == [[Span(4, 13, "X")]]


def test_without_dropout_a_pass_says_what_the_model_says(
    chained: TransformerTagger, texts: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chained._fitted().dropout, "p", 0.0)
    for batch in chained.infer(texts, passes=2):
        assert batch.samples_BMTC is not None and batch.sample_paths_BMT is not None
        for m in range(2):
            np.testing.assert_allclose(batch.samples_BMTC[:, m], batch.marginals_BTC, atol=1e-5)
            assert (batch.sample_paths_BMT[:, m] == batch.path_BT).mean() > 0.99


@pytest.mark.parametrize("dropout", TransformerTagger.dropouts)
def test_each_pass_takes_the_best_path_of_its_own(
    chained: TransformerTagger, train: list[Sentence], dropout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that are certain make every pass's path certain too, however the words are dropped."""
    crf = chained._fitted().crf
    assert crf is not None
    kept = crf.chain.between_CC.detach().clone()
    outside, first, second = (states_of(chained.tags).index(state) for state in ("O", "S-LOC", "S-PER"))
    try:
        with torch.no_grad():
            crf.chain.between_CC.fill_(-1e4)
            for state, then in ((outside, first), (first, second), (second, outside)):
                crf.chain.between_CC[state, then] = 0
        batches: list[Inference] = list(chained.infer(train[:6], passes=5, dropout=dropout))
    finally:
        with torch.no_grad():
            crf.chain.between_CC.copy_(kept)
    turn = {chained.tags.index(tag): chained.tags.index(then) for tag, then in (("O", "B-LOC"), ("B-LOC", "B-PER"))}
    turn[chained.tags.index("B-PER")] = chained.tags.index("O")
    for batch in batches:
        assert batch.sample_paths_BMT is not None
        for b, n in enumerate(batch.lengths):
            steps = batch.sample_paths_BMT[b, :, :n]
            assert all(turn[a] == b for path in steps.tolist() for a, b in itertools.pairwise(path))
