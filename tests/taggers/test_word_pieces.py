"""Word pieces, their passages and batches."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from transformers import (
    PreTrainedTokenizerFast,
)

from corpus import Sentence
from taggers.word_pieces import CAPITALISATIONS, PieceReader, capitalisation, within_budget
from tests.taggers.tiny import (  # noqa: F401  (fixtures)
    POSITIONS,
    encoder,
    fitted,
    one_thread,
    train,
)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("sea", "lower"), ("Ada", "title"), ("A", "title"), ("IBM", "upper"), ("U.S.", "upper"),
        ("McKay", "mixed"), ("iPhone", "mixed"), ("1990s", "lower"), ("1,990", "number"), ("...", "symbol"),
        ("🙂", "symbol"), ("东京", "caseless"), ("Émile", "title"), ("ΑΘΗΝΑ", "upper"), ("\u200b", "symbol"),
    ],
)  # fmt: skip
def test_capitalisation(word: str, kind: str) -> None:
    assert CAPITALISATIONS[capitalisation(word)] == kind


def test_words_and_pieces_stay_together(encoder: str) -> None:
    """A word that the tokenizer drops is unknown; the first piece of every word is where it says."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(encoder)
    words = ["Ada", "\u200b", "xyz", "\ud83d", "z" * 500, "sea"]
    ((passage,),) = PieceReader(tokenizer, POSITIONS).read([Sentence.from_words("1", words).words])
    firsts = tokenizer.convert_ids_to_tokens([passage.pieces[first] for first in passage.firsts])
    assert firsts[:3] == ["ada", "[UNK]", "x"]
    assert firsts[-1] == "sea"
    assert len(passage.pieces) == len(passage.kinds) <= POSITIONS
    assert tokenizer.convert_ids_to_tokens(passage.pieces)[0] == "[CLS]"
    assert tokenizer.convert_ids_to_tokens(passage.pieces)[-1] == "[SEP]"


def test_batches_keep_their_budget() -> None:
    lengths = [*np.random.default_rng(0).integers(1, 60, 200).tolist(), 500]
    groups = list(within_budget(lengths, 128))
    assert [i for group in groups for i in group] == list(range(201))
    for group, following in pairwise(groups):
        area = len(group) * max(lengths[i] for i in group)
        assert area <= 128 or len(group) == 1
        # Greedy: the next one would not have fitted.
        assert (len(group) + 1) * max(lengths[i] for i in [*group, following[0]]) > 128
    assert list(within_budget([], 128)) == []
