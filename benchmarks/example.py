"""The plain way to serve a token classifier: what Label Studio's own Hugging Face example does for a `/predict`.

`gunicorn --workers 1 --threads 8 "benchmarks.example:app()"` serves it as the example is served: by label-studio-ml.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, TokenClassificationPipeline

from taggers.encoders import PACKAGED, encoder_source

LABELS = ("PER", "LOC", "ORG", "MISC")


class PlainBackend:
    """A pipeline that is given all texts and reads them one after another, and entities put together from its pieces.

    The head over the packaged encoder is random: what it says costs as much as if it had learned.
    """

    def __init__(self, tags: Sequence[str], encoder: str = PACKAGED) -> None:
        source = encoder_source(encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForTokenClassification.from_pretrained(source, id2label=dict(enumerate(tags)))
        tokenizer = AutoTokenizer.from_pretrained(source)
        self._pipeline = TokenClassificationPipeline(model=model.eval(), tokenizer=tokenizer, device="cpu")

    def predict(self, tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Label Studio's predictions of tasks with a text; like the example's, none for a task without an entity."""
        predictions = []
        for pieces in self._pipeline([task["data"]["text"] for task in tasks]):
            regions = [self._region(list(alike)) for _, alike in itertools.groupby(pieces, lambda p: p["entity"][2:])]
            if regions:
                score = sum(region["score"] for region in regions) / len(regions)
                predictions.append({"result": regions, "score": score, "model_version": "plain"})
        return predictions

    @staticmethod
    def _region(pieces: list[dict[str, Any]]) -> dict[str, Any]:
        value = {"start": pieces[0]["start"], "end": pieces[-1]["end"], "labels": [pieces[0]["entity"][2:]]}
        score = float(np.mean([piece["score"] for piece in pieces]))
        return {"from_name": "label", "to_name": "text", "type": "labels", "value": value, "score": score}


def app() -> Any:
    """A WSGI application: label-studio-ml's own, around one backend for all requests."""
    from label_studio_ml.api import init_app
    from label_studio_ml.model import LabelStudioMLBase

    plain = PlainBackend(["O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI")])

    class Example(LabelStudioMLBase):
        def predict(self, tasks: Sequence[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
            return plain.predict(tasks)

    return init_app(Example, model_dir=os.environ["MODEL_DIR"])
