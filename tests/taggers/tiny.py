"""An encoder so small that each test can train it in a second, and texts for it; fixtures for tests to import."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
)

from corpus import Inference, Sentence, Span
from taggers.transformer import TransformerOptions, TransformerTagger

NAMES = ["Ada", "Grace", "Emmy", "Katherine", "Mary", "Rosalind", "Chien", "Lise"]
TOWNS = ["Bergen", "Lima", "Osaka", "Turin", "Quito", "Tartu", "Hue", "Accra"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:天京人在东北"
POSITIONS = 64


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So little work is done sooner by one thread than by several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny, random, uncased BERT that knows the words of these tests and single letters."""
    words = [w.lower() for w in [*NAMES, *TOWNS, "met", "in", "near", "saw", "the", "sea"]]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *LETTERS, *(f"##{c}" for c in LETTERS)]
    ids = {piece: i for i, piece in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=POSITIONS,
    )
    config = BertConfig(
        vocab_size=len(ids),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )
    folder = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def labelled(id: str, text: str, **phrases: str) -> Sentence:
    """`phrases` are label=phrase; each phrase is found in the text."""
    spans = tuple(
        Span(text.index(phrase), text.index(phrase) + len(phrase), label) for label, phrase in phrases.items()
    )
    return Sentence.from_text(id, text, spans)


@pytest.fixture(scope="session")
def train() -> list[Sentence]:
    """Who met whom where: 24 sentences, a third of them with nothing to mark."""
    sentences = []
    for i in range(8):
        name, town = NAMES[i], TOWNS[i]
        sentences.append(labelled(f"{i}a", f"{name} met the sea in {town}.", PER=name, LOC=town))
        sentences.append(labelled(f"{i}b", f"near {town}, {name} saw the sea", PER=name, LOC=town))
        sentences.append(labelled(f"{i}c", f"the sea: in the sea {'.' * (i + 1)}"))
    return sentences


def tagger_of(encoder: str, seed: int = 0, **options: object) -> TransformerTagger:
    settings = {"encoder": encoder, "learning_rate": 5e-3, "epochs": 8, "freeze": "none", **options}
    return TransformerTagger(TransformerOptions(**settings), seed=seed)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def fitted(encoder: str, train: list[Sentence]) -> TransformerTagger:
    tagger = tagger_of(encoder)
    tagger.fit(train, [])
    return tagger


@pytest.fixture(scope="session")
def texts(train: list[Sentence]) -> list[Sentence]:
    """Many lengths, an empty text, a text longer than the encoder reads, and other scripts."""
    long = " ".join(f"{NAMES[i % 8]} saw {TOWNS[i % 7]}," for i in range(40))
    others = ["", " ", "Ada", long, "艾达在东京。", "Ada 🙂🙂 saw 👩‍👩‍👧 in Lima", "Ada \u200b in \x07 Lima"]
    return [s.unlabelled() for s in train] + [Sentence.from_text(f"o{i}", t) for i, t in enumerate(others)]


def by_sentence(batches: list[Inference]) -> dict[int, tuple[np.ndarray, float, np.ndarray, np.ndarray]]:
    """Sentence index -> path, log_prob, marginals and hidden without padding."""
    found = {}
    for batch in batches:
        assert batch.hidden_BTH is not None
        for b, (i, n) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            assert i not in found
            arrays = (batch.path_BT[b], batch.marginals_BTC[b], batch.hidden_BTH[b])
            assert all(not array[n:].any() for array in arrays), "numbers in the padding"
            path, marginals, hidden = (array[:n] for array in arrays)
            found[int(i)] = (path, float(batch.log_prob_B[b]), marginals, hidden)
    return found
