"""How fast the transformer tagger reads a pool and learns with an encoder of BERT-base's size, beside the device's
matrix products.

Run as `python -m benchmarks.encoder_rates [--sentences N] [--precision fp32 bf16] [--compile no yes]`; on the GPU where
there is one. The encoder has the architecture and random weights: nothing is downloaded, and what it says does not
matter to its speed. Work is counted as two operations for each weight of a linear layer and word piece, and in each
layer's attention four for each unit and pair of pieces, padding left out; learning takes three times that (Kaplan et
al. 2020, sec. 2.1: the pass back costs twice the one forth).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel

from benchmarks.dropout import sentences
from benchmarks.growth import markdown
from benchmarks.throughput import TYPES, flops, network_of
from corpus import Sentence, Span
from taggers import Progress
from taggers.encoders import PACKAGED, best_device, load_encoder, save_encoder
from taggers.transformer import TransformerOptions, TransformerTagger

POOL = {"cpu": 64, "cuda": 20_000}
LEARNED = {"cpu": 32, "cuda": 2_000}
"""Sentences by the type of device."""
SIDE, PRODUCTS = {"cpu": 2048, "cuda": 8192}, {"cpu": 4, "cuda": 50}
"""Of the square matrices whose product sets the limit, and how many are timed."""
REPEATS = 3
HEADS = ("what", "in", "compiled", "sentences/s", "words/s", "TFLOP/s", "of its limit", "differs by", "peak GB")


class CompilingTagger(TransformerTagger):
    """The same with its encoder compiled, for learning and for tagging."""

    def _build(self) -> None:
        super()._build()
        network_of(self).encoder.compile(dynamic=True)

    def compile_for_tagging(self) -> None:
        """Tagging in another precision takes a copy of the network, and copies are not compiled."""
        network_of(self)._in(self._dtype).encoder.compile(dynamic=True)


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one kind of work."""

    seconds: float
    texts: Sequence[Sentence]
    flop: float

    def cells(self, limit: float) -> list[str]:
        """As in HEADS, given the device's own rate in FLOP/s."""
        words = sum(map(len, self.texts))
        per_second = [f"{count / self.seconds:,.0f}" for count in (len(self.texts), words)]
        return [*per_second, f"{self.flop / self.seconds / 1e12:.3g}", f"{self.flop / self.seconds / limit:.0%}"]


def random_encoder(folder: Path, config: BertConfig, seed: int) -> None:
    """An encoder that has learned nothing, with the packaged one's tokenizer (BERT's own uncased one)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config, add_pooling_layer=False)
    save_encoder(folder, model, load_encoder(PACKAGED)[1])


def matrix_rate(precision: str, device: torch.device) -> float:
    """FLOP/s of products of square matrices, the best of several runs."""
    side, count = SIDE[device.type], PRODUCTS[device.type]
    matrix = torch.full((side, side), 1e-3, dtype=TYPES[precision], device=device)
    product = torch.empty_like(matrix)

    def multiply() -> None:
        for _ in range(count):
            torch.mm(matrix, matrix, out=product)
        _wait(device)

    return 2 * count * side**3 / min(_seconds(multiply) for _ in range(REPEATS + 1))


def learning(tagger: TransformerTagger, texts: Sequence[Sentence]) -> Rate:
    """Through `fit`: the time from the first epoch's end to the second's, so that loading and warming up are left out;
    the tagger is fitted then."""
    ends: list[float] = []

    def note(progress: Progress) -> None:
        _wait(tagger._device)
        ends.append(time.perf_counter())

    tagger.fit(texts, [], on_progress=note)
    return Rate(ends[1] - ends[0], texts, 3 * flops(tagger, texts))


def tagging(tagger: TransformerTagger, texts: Sequence[Sentence]) -> Rate:
    """Through `infer`, the best of several runs."""

    def read() -> None:
        for _ in tagger.infer(texts):
            pass

    read()
    return Rate(min(_seconds(read) for _ in range(REPEATS)), texts, flops(tagger, texts))


def labelled(count: int, seed: int) -> list[Sentence]:
    """Sentences with a span each, of four labels."""
    labels = ("PER", "LOC", "ORG", "MISC")
    texts = sentences(count, seed)
    return [text.labelled((Span(0, text.words[0].end, labels[n % 4]),)) for n, text in enumerate(texts)]


def difference(tagger: TransformerTagger, plain: TransformerTagger, texts: Sequence[Sentence]) -> float:
    """The largest between the two taggers' marginals, given the same weights."""
    network_of(tagger).load_state_dict(network_of(plain).state_dict())
    network_of(tagger).train().eval()  # the copy in another precision is made anew
    if isinstance(tagger, CompilingTagger):
        tagger.compile_for_tagging()
    pairs = zip(plain.infer(texts), tagger.infer(texts), strict=True)
    return max(float(np.abs(a.marginals_BTC - b.marginals_BTC).max(initial=0.0)) for a, b in pairs)


def measure(
    encoder: Path, precision: str, compiling: bool, pool: Sequence[Sentence], train: Sequence[Sentence]
) -> list[list[str]]:
    """A row for tagging and one for learning."""
    device = best_device()
    limit = matrix_rate(precision, device)
    settings = {"encoder": str(encoder), "precision": precision, "epochs": 2}
    options = TransformerOptions.model_validate(settings)
    tagger = (CompilingTagger if compiling else TransformerTagger)(options, seed=0)
    peak = _Peak(device)
    learned = learning(tagger, train)
    peaks = [peak.gigabytes()]
    if isinstance(tagger, CompilingTagger):
        tagger.compile_for_tagging()
    tagged = tagging(tagger, pool)
    peaks.append(peak.gigabytes())
    differs = ""
    if compiling:
        plain = TransformerTagger(options, seed=0)
        plain.fit(train[:4], [])
        differs = f"{difference(tagger, plain, pool[:200]):.1g}"
    names = ("fine-tuning", "reading a pool")
    rows = zip(names, (learned, tagged), ("", differs), peaks, strict=True)
    kind = [precision, "yes" if compiling else "no"]
    return [[name, *kind, *rate.cells(limit), told, held] for name, rate, told, held in rows]


def rates(arguments: argparse.Namespace, encoder: Path) -> list[list[str]]:
    device, rows = best_device(), []
    pool = sentences(arguments.sentences or POOL[device.type], 1)
    train = labelled(arguments.learned or LEARNED[device.type], 2)
    for precision, compiling in itertools.product(arguments.precision, arguments.compile):
        try:
            rows += measure(encoder, precision, compiling == "yes", pool, train)
        except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
            reason = str(error).strip().splitlines()[0]
            rows.append([f"did not run: {reason}", precision, compiling, *[""] * (len(HEADS) - 3)])
        print(f"{precision}, compiled: {compiling} done", flush=True)
    return rows


class _Peak:
    """Of the GPU's memory; of a processor's no word, since other benchmarks tell it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._reset()

    def gigabytes(self) -> str:
        """Since the last time."""
        if self._device.type != "cuda":
            return ""
        peak = torch.cuda.max_memory_allocated(self._device)
        self._reset()
        return f"{peak / 1e9:.1f}"

    def _reset(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)


def _seconds(run: Any) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, help="of the pool (default: 64, on a GPU 20,000)")
    parser.add_argument("--learned", type=int, help="sentences learned from (default: 32, on a GPU 2,000)")
    parser.add_argument("--precision", nargs="+", choices=list(TYPES), default=list(TYPES))
    usual = ["no", "yes"] if best_device().type == "cuda" else ["no"]  # compiling for a processor takes minutes
    parser.add_argument("--compile", nargs="+", choices=["no", "yes"], default=usual, help="on a GPU: no yes")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--out", type=Path, help="file for the table, in Markdown")
    arguments = parser.parse_args()
    device = best_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    config = BertConfig(
        num_hidden_layers=arguments.layers,
        hidden_size=arguments.width,
        num_attention_heads=arguments.width // 64,
        intermediate_size=4 * arguments.width,
    )
    limits = [f"{precision} {matrix_rate(precision, device) / 1e12:.3g} TFLOP/s" for precision in arguments.precision]
    with TemporaryDirectory() as folder:
        random_encoder(Path(folder), config, 0)
        table = markdown(HEADS, rates(arguments, Path(folder)))
    report = (
        f"{device.type}, {name}; limits, matrix products of side {SIDE[device.type]}: {', '.join(limits)}\n\n{table}"
    )
    print(f"\n{report}")
    if arguments.out:
        arguments.out.write_text(report + "\n")


if __name__ == "__main__":
    main()
