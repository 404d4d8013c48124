"""A model as others can use it: in a form that its own library loads where there is one, with a model card."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from taggers.base import Tagger, portable
from taggers.forms import Form
from taggers.storage import whole

CARD = "README.md"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The facts of a stored round that its model's card tells; what is None is not known and left out."""

    title: str
    version: str
    created_at: datetime
    """UTC."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As in force when it was trained."""
    texts: int | None = None
    """Labelled texts that it learned from."""
    holdout_texts: int | None = None
    """Labelled texts kept for evaluation only."""
    words: int | None = None
    """In both."""
    evaluation: Mapping[str, Any] | None = None
    """`learning.loop.Evaluation` as JSON."""

    def markdown(self, tagger: Tagger, form: Form) -> str:
        """The card in Hugging Face's format: YAML for machines, then text."""
        parts = [
            f"---\n{self._head(tagger, form)}\n---",
            f"# {plain(self.title)}",
            self._what(tagger),
            f"## How to load it\n\n{form.loading.strip()}",
            self._scores(),
            self._origin(tagger, form),
            LIMITS,
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    def _head(self, tagger: Tagger, form: Form) -> str:
        results = None
        if self.evaluation:
            common: dict[str, Any] = {
                "task_type": "token-classification",
                "dataset_type": "private",
                "dataset_name": f"the project's own texts ({self.evaluation['method']})",
            }
            results = [
                EvalResult(**common, metric_type=kind, metric_value=round(self.evaluation[kind], 4))
                for kind in ("f1", "precision", "recall")
            ]
        data = ModelCardData(
            library_name=form.library,
            pipeline_tag="token-classification",
            tags=["token-classification", "sequence-tagging", "active-learning", "active-tagger", tagger.name],
            metrics=["f1", "precision", "recall"],
            model_name=plain(self.title) if results else None,
            eval_results=results,
        )
        return data.to_yaml().strip()

    def _what(self, tagger: Tagger) -> str:
        labels = sorted({tag[2:] for tag in tagger.tags if tag != "O"})
        known = ", ".join(map(plain, labels)) or "none"
        told = f"Marks spans of text with the labels {known}. Version {self.version}, trained with Active Tagger on "
        told += f"{self.created_at:%Y-%m-%d} (UTC)."
        if self.texts is not None:
            told += f" It learned from {self.texts:,} labelled texts"
            told += f"; {self.holdout_texts:,} more were kept for evaluation" if self.holdout_texts else ""
            told += f" ({self.words:,} words in all)." if self.words is not None else "."
        return told

    def _scores(self) -> str:
        scores = self.evaluation
        if not scores:
            return "## How good it is\n\nNot measured: there were too few labelled texts."
        told = (
            f"F1 {scores['f1']:.3f} (95% bootstrap interval {scores['low']:.3f} to {scores['high']:.3f}), precision "
            f"{scores['precision']:.3f}, recall {scores['recall']:.3f}, by {METHODS[scores['method']]}: "
            f"{scores['sentences']:,} texts with {scores['spans']:,} spans. A span counts when its place and its label "
            "are right to the character (strict, micro average)."
        )
        rows = [
            [label, *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")), f"{row['support']:,}"]
            for label, row in sorted(scores.get("per_label", {}).items())
        ]
        return f"## How good it is\n\n{told}\n\n{table(['Label', 'Precision', 'Recall', 'F1', 'Spans'], rows)}"

    def _origin(self, tagger: Tagger, form: Form) -> str:
        settings = {"tagger": tagger.name, **self.settings, "seed": tagger.seed}
        options = tagger.options.model_dump(mode="json")
        settings["tagger_options"] = options | {key: portable(options[key]) for key in ("encoder",) if options.get(key)}
        rows = [[name, json.dumps(value, ensure_ascii=False)] for name, value in settings.items()]
        versions = [["Python", platform.python_version()], *([name, _version(name)] for name in form.packages)]
        return (
            f"## How it was made\n\n{table(['Setting', 'Value'], rows)}\n\n"
            f"{table(['Library', 'Version'], versions)}\n\n"
            "The versions are those that wrote this export."
        )


METHODS = {
    "hold-out": "a hold-out that the model never learned from, drawn at random",
    "cross-validation": "cross-validation, for the hold-out was still too small (models of fewer texts than this one)",
}

LIMITS = """\
## Limits

It knows texts like those of its project; on others, expect less. The labelled texts were chosen by active learning, so
they are no random sample, which is why it is evaluated on texts that were. One word has one label: spans that overlap
cannot be found. Personal or protected content of the texts may be reflected in what it has learned."""


def export(tagger: Tagger, folder: Path, card: ModelCard) -> Form:
    """Write `tagger` into `folder`, which must not exist, with its card as README.md; it is there whole or not at all.

    The form is the tagger's best: see `Tagger.export`. Raises FileExistsError if `folder` exists.
    """
    with whole(folder) as unfinished:
        form = tagger.export(unfinished)
        (unfinished / CARD).write_text(card.markdown(tagger, form), encoding="utf-8")
    return form


def plain(text: str) -> str:
    """Text from outside as one line that Markdown and HTML leave as it is."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>()#+|~&!-])", lambda found: f"&#{ord(found[0])};", line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells are plain text."""
    lines = [header, ["---"] * len(header), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
