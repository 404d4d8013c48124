"""Strict span F1 and speed of a tagger on CoNLL-2003, trained on a random share of its words.

Run as `python -m benchmarks.conll2003 --data FOLDER --tagger transformer --share 0.1`, where FOLDER holds
eng.train, eng.testa and eng.testb (Reuters text, for research only, which this project does not carry).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from corpus import Sentence
from corpus.conll import read_conll
from learning.metrics import scores
from taggers import TAGGERS, Progress, tagger_class

FILES = ("eng.train", "eng.testa", "eng.testb")


def draw(sentences: Sequence[Sentence], share: float, rng: np.random.Generator) -> list[Sentence]:
    """Whole sentences at random until `share` of all words is reached."""
    wanted = share * sum(map(len, sentences))
    drawn, words = [], 0
    for i in rng.permutation(len(sentences)):
        if words >= wanted:
            break
        drawn.append(sentences[i])
        words += len(sentences[i])
    return drawn


def read(folder: Path) -> list[list[Sentence]]:
    """The three files. Exits with a readable message if one is missing."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise SystemExit(f"{folder} lacks {', '.join(missing)}: give the folder with CoNLL-2003's files as --data")
    return [read_conll(folder / name, scheme="IOB1", word=0, tag=3) for name in FILES]


def report(progress: Progress) -> None:
    dev = "" if progress.dev_f1 is None else f", dev F1 {100 * progress.dev_f1:.1f}"
    loss = "" if progress.loss is None else f": loss {progress.loss:.4f}"
    print(f"  epoch {progress.epoch}/{progress.epochs}{loss}{dev}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with eng.train, eng.testa, eng.testb")
    parser.add_argument("--tagger", choices=sorted(TAGGERS), default="transformer")
    parser.add_argument("--share", type=float, default=0.1, help="of the training words, 0 to 1")
    parser.add_argument("--dev", choices=["share", "testa"], default="share", help="a fifth of the share, or testa")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the tagger")
    arguments = parser.parse_args()

    train, testa, test = read(arguments.data)
    drawn = draw(train, arguments.share, np.random.default_rng(arguments.seed))
    kind = tagger_class(arguments.tagger)
    options = dict(option.split("=", 1) for option in arguments.option)
    tagger = kind(kind.Options.model_validate_strings(options), seed=arguments.seed)
    dev: Sequence[Sentence] = []
    if tagger.uses_dev and arguments.dev == "testa":
        dev = testa
    elif tagger.uses_dev:
        dev, drawn = drawn[: len(drawn) // 5], drawn[len(drawn) // 5 :]
    print(f"{arguments.tagger} {tagger.options!r}, seed {arguments.seed}")
    print(f"train {len(drawn)} sentences, {sum(map(len, drawn))} words; dev {len(dev)}; test {len(test)}")

    began, began_cpu = time.perf_counter(), time.process_time()
    tagger.fit(drawn, dev, on_progress=report)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    predicted = tagger.predict([sentence.unlabelled() for sentence in test])
    tagged, tagged_cpu = time.perf_counter(), time.process_time()
    found = scores("spans", test, predicted, np.random.default_rng(arguments.seed))
    print(f"test F1 {100 * found.f1:.1f} (95% {100 * found.low:.1f} to {100 * found.high:.1f}), ", end="")
    print(f"precision {100 * found.precision:.1f}, recall {100 * found.recall:.1f}")
    for label, by_label in found.per_label.items():
        print(f"  {label}: F1 {100 * by_label.f1:.1f} of {by_label.support} spans")
    rate = len(test) / (tagged - fitted)
    print(f"fit {fitted - began:.1f} s (CPU {fitted_cpu - began_cpu:.1f} s)")
    print(f"test tagged in {tagged - fitted:.1f} s (CPU {tagged_cpu - fitted_cpu:.1f} s), {rate:.0f} sentences/s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
