"""How many sentences a second the transformer tagger tags: beside what this machine can multiply, and the plain way.

Run as `python -m benchmarks.throughput`, on made-up sentences or, with `--data FOLDER`, on those of CoNLL-2003's test
set. All take turns, the matrix products that set the limit too, so that the shares hold on a busy machine as well.
The plain way is that of Label Studio's Hugging Face example (see `benchmarks.example`).
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.contest import Clock, Outcome, Task, compete
from benchmarks.dropout import sentences
from benchmarks.example import PlainBackend
from corpus import Sentence, Span
from corpus.conll import read_conll
from taggers.transformer import TransformerOptions, TransformerTagger
from taggers.transformer_network import FineTuned

SIDE, PRODUCTS = 2048, 4
"""Of the square matrices whose product sets the limit, and how many products a turn takes."""
PLAIN_SHARE = 0.1
"""Of the sentences, how many are tagged the plain way, which takes so long."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def pool(data: Path | None, count: int, seed: int) -> list[Sentence]:
    """So many sentences, spread over the file that they are read from."""
    if data is None:
        return sentences(count, seed)
    read = [sentence.unlabelled() for sentence in read_conll(data / "eng.testb")]
    return read[:: max(1, len(read) // count)][:count]


def fitted(precision: str, seed: int) -> TransformerTagger:
    """The packaged encoder and nine tags. What it has learned, nearly nothing, does not matter to its speed."""
    options = TransformerOptions.model_validate({"epochs": 1, "precision": precision})
    tagger = TransformerTagger(options, seed=seed)
    shown = [s for s in sentences(24, seed) if len(s) > 3]
    labels = ("PER", "LOC", "ORG", "MISC")
    tagger.fit([s.labelled((Span(0, s.words[0].end, labels[n % 4]),)) for n, s in enumerate(shown)], [])
    return tagger


def network_of(tagger: TransformerTagger) -> FineTuned:
    network = tagger._fitted()
    assert isinstance(network, FineTuned)
    return network


def flops(tagger: TransformerTagger, texts: Sequence[Sentence]) -> float:
    """Operations in the matrix products of tagging `texts`, padding left out: two for each weight of a linear layer
    and word piece, and in each layer's attention four for each unit and pair of pieces."""
    encoder = network_of(tagger).encoder
    layers, width = encoder.config.num_hidden_layers, encoder.config.hidden_size
    weights = sum(
        module.weight.numel()
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("pooler")
    )
    total = 0.0
    for parts in tagger._reader.read([text.words for text in texts]):
        for part in parts:
            total += 2.0 * weights * len(part) + 4.0 * layers * width * len(part) ** 2
    return total


def timed(run: Callable[[], object]) -> Task:
    """The result is the time that processors were busy, in seconds, which a busy machine tells more truly."""

    def turn(clock: Clock, number: int) -> float:
        began = time.process_time()
        with clock:
            run()
        return time.process_time() - began

    run()
    return turn


def multiplying(precision: str) -> Task:
    """The limit: products of square matrices."""
    matrix = torch.ones((SIDE, SIDE), dtype=TYPES[precision])

    def multiply() -> None:
        with torch.inference_mode():
            for _ in range(PRODUCTS):
                matrix @ matrix

    return timed(multiply)


def tagging(precision: str, data: Path | None, count: int, seed: int) -> Task:
    """This project's way."""
    tagger, texts = fitted(precision, seed), pool(data, count, seed)
    return timed(lambda: tagger.predict(texts))


def plain(data: Path | None, count: int, seed: int) -> Task:
    """The example's way, on a share of the sentences."""
    backend = PlainBackend(fitted("fp32", seed).tags)
    tasks = [{"data": {"text": text.text}} for text in few(pool(data, count, seed))]
    return timed(lambda: backend.predict(tasks))


def few(texts: Sequence[Sentence]) -> Sequence[Sentence]:
    """Those that are tagged the plain way."""
    return texts[:: round(1 / PLAIN_SHARE)]


def report(outcomes: Sequence[Outcome], texts: Sequence[Sentence], work: float) -> None:
    """Outcomes of the two limits, our two ways and the plain one, in this order; `work` is in FLOP."""
    for clock, seconds in (
        ("on the clock", [o.seconds for o in outcomes]),
        ("busy", [o.result or 0 for o in outcomes]),
    ):
        *limits, fp32, bf16, example = seconds
        most = [2 * PRODUCTS * SIDE**3 / limit for limit in limits]
        plain_rate = len(few(texts)) / example
        print(f"per second {clock}; products: {most[0] / 1e9:.0f} GFLOP in fp32, {most[1] / 1e9:.0f} in bf16")
        for name, ours, limit in zip(TYPES, (fp32, bf16), most, strict=True):
            rate, share = len(texts) / ours, work / ours / limit
            print(f"  {name:10}{rate:8.1f} sentences{share:8.2f} of its limit{rate / plain_rate:8.1f} × the plain way")
        print(f"  {'plain way':10}{plain_rate:8.1f} sentences", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with CoNLL-2003")
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    where = (arguments.data, arguments.sentences, arguments.seed)
    contestants: list[Callable[[], Task]] = [functools.partial(multiplying, name) for name in TYPES]
    contestants += [functools.partial(tagging, name, *where) for name in TYPES]
    outcomes = compete([*contestants, functools.partial(plain, *where)], arguments.rounds)
    texts = pool(*where)
    report(outcomes, texts, flops(fitted("fp32", arguments.seed), texts))


if __name__ == "__main__":
    main()
