"""What reading the unlabelled pool brings: masked-token prediction before fine-tuning, and ALPS as a cold start.

Run as `python -m benchmarks.adaptation --data FOLDER --share 0.02 --seeds 2 --seconds 300`, where FOLDER holds
CoNLL-2003 (see benchmarks/conll2003.py). Three tables: the masked loss before and after; the transformer tagger's
test F1 from the plain and from the adapted encoder, on the same labels; and the F1 of taggers that learned from the
first sentences chosen by each cold start.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.conll2003 import draw, read
from corpus import Inference, Sentence
from learning.metrics import scores
from strategies import Measured, join, strategy
from taggers import tagger_class
from taggers.encoders import PACKAGED
from taggers.masked_lm import MaskedLanguageModel
from taggers.pretrained import PretrainedEncoder

Infer = Callable[[Sequence[Sentence]], Iterator[Inference]]


def adapt(folder: Path, train: Sequence[Sentence], seconds: float, steps: int | None) -> None:
    """Adapt the packaged encoder to `train` and leave it in `folder`."""
    model = MaskedLanguageModel.tied()
    last = time.monotonic()

    def tell(step: str, **detail: float) -> None:
        nonlocal last
        if time.monotonic() - last > 20:
            last = time.monotonic()
            print(f"  {detail['seconds']:.0f} s: loss {detail['loss']:.2f}", flush=True)

    result = model.adapt(train, seconds=seconds, steps=steps, on_progress=tell)
    model.save(folder)
    print(f"adapted in {result['seconds']:.0f} s, {result['steps']} steps, {result['texts']} texts", end="; ")
    print(f"masked loss {result['loss_before']:.2f} -> {result['loss_after']:.2f}", end=", ")
    print(f"accuracy {100 * result['accuracy_before']:.1f}% -> {100 * result['accuracy_after']:.1f}%", flush=True)


def f1(name: str, encoder: str, labelled: Sequence[Sentence], test: Sequence[Sentence], seed: int) -> float:
    """Test F1 in percent of a tagger that learned from `labelled`, a fifth of it kept to stop by if it stops early."""
    kind = tagger_class(name)
    tagger = kind(kind.Options.model_validate({"encoder": encoder} if name == "transformer" else {}), seed=seed)
    kept = len(labelled) // 5 if tagger.uses_dev else 0
    tagger.fit(labelled[kept:], labelled[:kept])
    predicted = tagger.predict([sentence.unlabelled() for sentence in test])
    return 100 * scores("spans", test, predicted, np.random.default_rng(seed)).f1


def fine_tuning(
    encoders: dict[str, str], shares: Sequence[float], seeds: int, train: Sequence[Sentence], test: Sequence[Sentence]
) -> None:
    """Print the transformer's F1 from each encoder, with the same labels and seed."""
    for share in shares:
        found: dict[str, list[float]] = {name: [] for name in encoders}
        for seed in range(seeds):
            labelled = draw(train, share, np.random.default_rng(seed))
            for name, encoder in encoders.items():
                found[name].append(f1("transformer", encoder, labelled, test, seed))
        for name, reached in found.items():
            print(f"transformer, {100 * share:g}% of the words, {name:8} F1 {listed(reached)}", flush=True)


def cold_starts(
    measured: dict[str, tuple[str, Callable[[int], Measured]]],
    sizes: Sequence[int],
    seeds: int,
    taggers: Sequence[str],
    train: Sequence[Sentence],
    test: Sequence[Sentence],
) -> None:
    """Print the F1 of each tagger after the first sentences that each strategy chooses."""
    for shown, (name, measure) in measured.items():
        values = [measure(seed) for seed in range(seeds)]
        for size in sizes:
            chosen = []
            for seed, measured_N in enumerate(values):
                order = strategy(name).rank(measured_N, None, size, np.random.default_rng(seed)).order
                chosen.append([train[i] for i in order[:size]])
            words = np.mean([sum(map(len, sentences)) for sentences in chosen])
            spans = np.mean([sum(len(s.spans or ()) for s in sentences) for sentences in chosen])
            print(f"{size} sentences by {shown}: {words:.0f} words, {spans:.0f} spans", flush=True)
            for tagger in taggers:
                reached = [f1(tagger, PACKAGED, chosen[seed], test, seed) for seed in range(seeds)]
                print(f"  {tagger:12} F1 {listed(reached)}", flush=True)


def measuring(name: str, infer: Infer, sentences: Sequence[Sentence]) -> Measured:
    """The whole pool as strategy `name` measures it, and how long that took."""
    began = time.monotonic()
    chosen = strategy(name)
    measured = join(((batch, chosen.measure(batch)) for batch in infer(sentences)), len(sentences))
    print(f"  measured for {name}: {len(sentences) / (time.monotonic() - began):.0f} sentences/s", flush=True)
    return measured


def listed(scores: Sequence[float]) -> str:
    return f"{np.mean(scores):5.1f}  ({', '.join(f'{score:.1f}' for score in scores)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with eng.train, eng.testa, eng.testb")
    parser.add_argument("--share", type=float, nargs="*", default=[0.02, 0.1], help="of the training words, 0 to 1")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300, help="of adapting")
    parser.add_argument("--steps", type=int, help="of adapting, instead of --seconds: does not depend on the machine")
    parser.add_argument("--adapted", type=Path, help="folder to keep the adapted encoder in, or to take it from")
    parser.add_argument("--masked-lm", help="another masked-language model for alps, a folder or a Hub name")
    parser.add_argument("--sentences", type=int, nargs="*", default=[100, 200], help="chosen by each cold start")
    parser.add_argument("--taggers", nargs="*", default=["crf"], help="that learn from those: crf, transformer")
    parser.add_argument("--pool", type=int, help="sentences to choose from, at random (default: all)")
    parser.add_argument("--test", type=int, help="sentences to test on, at random (default: all)")
    arguments = parser.parse_args()

    train, _, test = read(arguments.data)
    rng = np.random.default_rng(0)
    tested = [test[i] for i in rng.permutation(len(test))[: arguments.test]]
    pool = [train[i] for i in rng.permutation(len(train))[: arguments.pool]]
    unlabelled = [sentence.unlabelled() for sentence in pool]
    with TemporaryDirectory() as temporary:
        folder = arguments.adapted or Path(temporary) / "adapted"
        if not folder.exists():
            adapt(folder, [sentence.unlabelled() for sentence in train], arguments.seconds, arguments.steps)
        if arguments.share:
            encoders = {"plain": PACKAGED, "adapted": str(folder)}
            fine_tuning(encoders, arguments.share, arguments.seeds, train, tested)
        if arguments.sentences:
            unmeasured = Measured(np.zeros(len(pool)), np.array([len(sentence) for sentence in pool]))
            encoded = measuring("bert-km", PretrainedEncoder().infer, unlabelled)
            models = {"adapted MiniLM": str(folder)} | (
                {"MASKED_LM": arguments.masked_lm} if arguments.masked_lm else {}
            )

            def surprise(model: str) -> Callable[[int], Measured]:
                return lambda seed: measuring("alps", MaskedLanguageModel.load(model, seed=seed).infer, unlabelled)

            alps = {f"alps ({name})": ("alps", surprise(model)) for name, model in models.items()}
            cold_starts(
                {"random": ("random", lambda seed: unmeasured), "bert-km": ("bert-km", lambda seed: encoded), **alps},
                arguments.sentences,
                arguments.seeds,
                arguments.taggers,
                pool,
                tested,
            )


if __name__ == "__main__":
    main()
