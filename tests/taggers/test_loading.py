"""Loading in several threads, as web processes do."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from accelerate import init_empty_weights

import taggers
from corpus import Sentence
from taggers.encoders import reading_weights
from tests.taggers.tiny import train  # noqa: F401  (fixtures)

TEXTS = [Sentence.from_text("1", "Anna lives in Paris"), Sentence.from_text("2", "nobody knows")]


def test_a_model_is_not_put_together_while_transformers_reads_an_encoder(tmp_path: Path, train: list[Sentence]) -> None:
    """Meanwhile every torch module of the process is made without weights: a patch of its class."""
    tagger = taggers.tagger_class("bilstm")(taggers.tagger_class("bilstm").Options(epochs=1))
    tagger.fit(train, [])
    tagger.save(tmp_path / "model")
    reads, may_end = threading.Event(), threading.Event()

    def read() -> None:
        with reading_weights(), init_empty_weights(include_buffers=False):  # as `from_pretrained` has it
            reads.set()
            may_end.wait(30)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(read)
        assert reads.wait(30)
        loading = pool.submit(taggers.load, tmp_path / "model")
        threading.Timer(0.5, may_end.set).start()
        assert loading.result().predict(TEXTS) == tagger.predict(TEXTS)
