"""The transformer tagger's stochastic passes."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    MPNetConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from corpus import Sentence
from taggers.encoders import save_encoder
from taggers.transformer import TransformerTagger
from tests.taggers.tiny import (  # noqa: F401  (fixtures)
    POSITIONS,
    encoder,
    fitted,
    labelled,
    one_thread,
    tagger_of,
    texts,
    train,
)

pytestmark = pytest.mark.slow


def log_chances(tagger: TransformerTagger, text: Sentence, count: int, dropout: str) -> np.ndarray:
    """(count, n, C): what the network itself says with its dropout on, by torch's generator.

    A few rows at a time: on a processor torch draws a call's masks by a generator of 31 bits, and of a million numbers
    in a row the distribution is visibly off.
    """
    network = tagger._fitted()
    (passages,) = tagger._reader.read([text.words])
    batch = tagger._reader.batch(passages * 50)
    (network.dropout if dropout == "last" else network).train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            logits = torch.cat([network.head(network.dropout(network(batch))) for _ in range(count // 50)])
            return logits.log_softmax(dim=1).view(count, len(text), -1).numpy()
    finally:
        network.eval()


@pytest.fixture(scope="module")
def doubtful(encoder: str, train: list[Sentence], tmp_path_factory: pytest.TempPathFactory) -> TransformerTagger:
    """Stopped early, so that its answers move; its attention decides more than a random encoder's does."""
    folder = tmp_path_factory.mktemp("doubtful")
    model = BertModel.from_pretrained(encoder, attention_probs_dropout_prob=0.3)
    with torch.no_grad():
        for layer in model.encoder.layer:
            layer.attention.self.value.weight *= 10
            layer.attention.output.dense.weight *= 10
    save_encoder(folder, model, PreTrainedTokenizerFast.from_pretrained(encoder))
    tagger = tagger_of(str(folder), epochs=2, precision="fp32")
    tagger.fit(train, [])
    return tagger


@pytest.mark.parametrize("dropout", TransformerTagger.dropouts)
def test_passes_are_distributed_as_those_of_the_network_in_training_mode(
    doubtful: TransformerTagger, train: list[Sentence], dropout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By word and tag the mean, the variance and the whole distribution; and sums over words, which would differ if
    words shared masks that they should not, or did not share those that they should."""
    text, passes = train[0].unlabelled(), 3000 if dropout == "last" else 1000
    if dropout == "all":
        monkeypatch.setattr(doubtful._fitted().dropout, "p", 0.0)  # it would hide what the encoder's do
    theirs = log_chances(doubtful, text, 4000, dropout)
    (batch,) = doubtful.infer([text], passes=passes, dropout=dropout)
    assert batch.samples_BMTC is not None
    ours = np.log(batch.samples_BMTC[0])
    error = (ours.mean(axis=0) - theirs.mean(axis=0)) / np.sqrt(theirs.var(axis=0) * (1 / passes + 1 / 4000))
    assert np.abs(error).max() < 4.5  # of 35
    np.testing.assert_allclose(ours.std(axis=0) / theirs.std(axis=0), 1, atol=6 / np.sqrt(passes))
    for n, c in np.ndindex(theirs.shape[1:]):
        assert ks_2samp(ours[:, n, c], theirs[:, n, c]).pvalue > 1e-4
    for c in range(theirs.shape[2]):
        assert ks_2samp(ours[..., c].sum(axis=1), theirs[..., c].sum(axis=1)).pvalue > 1e-4


def test_last_runs_the_encoder_once(
    fitted: TransformerTagger, train: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    forward = BertModel.forward
    monkeypatch.setattr(BertModel, "forward", lambda *a, **k: runs.append(1) or forward(*a, **k))  # type: ignore
    for dropout, expected in (("last", 1), ("all", 1 + 30)):
        runs.clear()
        list(fitted.infer(train[:3], passes=30, dropout=dropout))
        assert len(runs) == expected


def test_sample_paths_take_the_likeliest_tags(fitted: TransformerTagger, texts: list[Sentence]) -> None:
    for dropout in fitted.dropouts:
        for batch in fitted.infer(texts, passes=2, dropout=dropout):
            assert batch.samples_BMTC is not None and batch.sample_paths_BMT is not None
            np.testing.assert_array_equal(batch.samples_BMTC.argmax(axis=3), batch.sample_paths_BMT)


OTHERS = [AlbertConfig, DebertaV2Config, DistilBertConfig, ElectraConfig, GPT2Config, MPNetConfig, RobertaConfig]


@pytest.mark.parametrize("kind", OTHERS)
def test_all_dropout_of_other_architectures(encoder: str, tmp_path: Path, kind: type[PretrainedConfig]) -> None:
    """None draws from torch's generator, so all masks are keyed; company and padding do not matter."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(encoder)
    config = BertConfig.from_pretrained(encoder)
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    shape = {size: getattr(config, size) for size in sizes} | {"max_position_embeddings": POSITIONS + 2}
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]} if kind is DebertaV2Config else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Dropouts that are usually 0 are set too.
        rates = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
        model = AutoModel.from_config(kind(**shape, **relative, **rates, pad_token_id=0))
        save_encoder(tmp_path / "encoder", model, tokenizer)
    tagger = tagger_of(str(tmp_path / "encoder"), epochs=1)
    texts = [labelled("1", "Ada met the sea", PER="Ada"), labelled("2", "Lima"), labelled("3", "the sea " * 9)]
    tagger.fit(texts, [])
    state = torch.get_rng_state()
    (together,) = tagger.infer(texts, passes=2, dropout="all")
    assert torch.equal(state, torch.get_rng_state())
    assert not any(module.training for module in tagger._fitted().modules())
    (last,) = tagger.infer(texts, passes=2, dropout="last")
    assert together.samples_BMTC is not None and last.samples_BMTC is not None
    assert np.abs(together.samples_BMTC - last.samples_BMTC).max() > 1e-3, "the encoder has dropped nothing"
    for b, i in enumerate(together.indices):
        (alone,) = tagger.infer([texts[i]], passes=2, dropout="all")
        assert alone.samples_BMTC is not None
        np.testing.assert_allclose(together.samples_BMTC[b, :, : len(texts[i])], alone.samples_BMTC[0], atol=1e-5)


def test_an_error_in_a_pass_leaves_the_network_as_it_was(
    fitted: TransformerTagger, train: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unkeyed(encoder: BertModel, **inputs: torch.Tensor) -> object:
        nn.functional.dropout1d(inputs["inputs_embeds"], training=encoder.training)
        return original(encoder, **inputs)

    original = BertModel.forward
    monkeypatch.setattr(BertModel, "forward", unkeyed)
    list(fitted.infer(train, passes=2))
    with pytest.raises(ValueError, match="'last'"):
        list(fitted.infer(train, passes=2, dropout="all"))
    assert not any(module.training for module in fitted._fitted().modules())
