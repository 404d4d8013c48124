"""What the throughput benchmark counts as work."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from benchmarks.throughput import flops
from corpus import Sentence
from taggers.transformer import TransformerTagger
from tests.taggers.tiny import encoder, fitted, one_thread, train  # noqa: F401  (fixtures)

pytestmark = pytest.mark.slow


def test_work_is_what_torch_counts_without_padding(fitted: TransformerTagger, encoder: str) -> None:
    """Attention in the open, because torch does not count its own; texts read alone, so that there is no padding."""
    texts = [Sentence.from_text("1", "Ada met the sea in Lima."), Sentence.from_text("2", "the sea " * 100)]
    config = BertConfig.from_pretrained(encoder, attn_implementation="eager")
    in_the_open = BertModel(config, add_pooling_layer=False).eval()
    counted = 0
    for passages in fitted._reader.read([text.words for text in texts]):
        for passage in passages:
            batch = fitted._reader.batch([passage])
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                in_the_open(input_ids=batch.pieces_RP, attention_mask=batch.mask_RP)
            counted += counter.get_total_flops()
    assert flops(fitted, texts) == pytest.approx(counted, rel=1e-6)
