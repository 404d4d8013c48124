from dataclasses import replace

import numpy as np
import pytest

from corpus import Choice, Sentence, Span
from demo.grammar import generate
from learning import suspects as module
from learning.agreement import word_labels
from learning.suspects import MOST_SHOWN, suspects
from tests.learning.texts import texts

pytestmark = pytest.mark.slow


def spoilt(sentences: list[Sentence], share: float, seed: int) -> tuple[list[Sentence], set[str]]:
    """The same with a share of the spans left out or under another label, and the ids of the texts that have one."""
    rng = np.random.default_rng(seed)
    labels = sorted({span.label for sentence in sentences for span in sentence.spans})
    made, where = [], set()
    for sentence in sentences:
        spans = []
        for span in sentence.spans:
            if rng.random() < share:
                where.add(sentence.id)
                if rng.random() < 0.5:
                    continue
                span = replace(span, label=str(rng.choice([label for label in labels if label != span.label])))
            spans.append(span)
        made.append(sentence.labelled(tuple(spans)))
    return made, where


@pytest.fixture(scope="module")
def planted():
    return spoilt(generate(300, seed=3), 0.05, seed=1)


@pytest.fixture(scope="module")
def found(planted):
    return suspects(planted[0], np.random.default_rng(0))


def test_most_of_what_is_shown_was_planted(planted, found):
    """5% of the spans are wrong, in 9% of the texts."""
    _, where = planted
    shown = [item.task for item in found.items]
    assert found.checked == 300
    assert len(set(shown)) == len(shown) <= MOST_SHOWN
    assert len(where.intersection(shown)) >= 0.6 * min(len(where), MOST_SHOWN)
    assert len(where.intersection(shown)) >= 0.5 * len(shown)
    assert len(where.intersection(shown[:10])) >= 6


def test_the_right_labels_are_suggested(planted, found):
    gold = {sentence.id: sentence for sentence in generate(300, seed=3)}
    hits = [item for item in found.items if item.task in planted[1]]
    right = [word_labels(gold[i.task], i.suggested) == word_labels(gold[i.task], gold[i.task].spans) for i in hits]
    assert np.mean(right) >= 0.6


def test_words_say_what_was_given_and_what_would_be(planted, found):
    given = {sentence.id: sentence for sentence in planted[0]}
    for item in found.items:
        sentence = given[item.task]
        labels = dict(zip(sentence.words, word_labels(sentence, item.given), strict=True))
        by_place = {(word.start, word.end): label for word, label in labels.items()}
        assert (item.given, item.text) == (sentence.spans, sentence.text)
        assert item.words
        for word in item.words:
            assert by_place[word.start, word.end] == word.given != word.suggested
            assert 0 < word.confidence <= 1
        assert word_labels(sentence, item.suggested) != list(labels.values())


def test_same_generator_same_suspects(planted):
    first, second, other = (suspects(planted[0][:80], np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == second != other


def test_the_label_that_is_judged_was_not_trained_on(monkeypatch):
    """Each sentence is tested by a model of all the other folds, and each exactly once."""
    kind, trained, tested = module.tagger_class("crf"), [], []

    class Watched(kind):
        def fit(self, train, dev, **more):
            trained.append({sentence.id for sentence in train})
            super().fit(train, dev, **more)

        def infer(self, sentences, **more):
            assert all(sentence.spans is None for sentence in sentences)
            tested.append({sentence.id for sentence in sentences})
            return super().infer(sentences, **more)

    monkeypatch.setattr(module, "tagger_class", lambda name: Watched)
    everything = texts(60)
    suspects(everything, np.random.default_rng(0))
    assert len(trained) == len(tested) == 5
    assert sorted(id for fold in tested for id in fold) == sorted(sentence.id for sentence in everything)
    for learned, judged in zip(trained, tested, strict=True):
        assert not learned & judged
        assert learned | judged == {sentence.id for sentence in everything}


def test_consistent_labels_raise_no_suspicion():
    assert suspects(texts(200), np.random.default_rng(0)).items == ()


def test_a_label_that_one_fold_alone_knows_is_no_trouble():
    once = Sentence.from_text("500", "ISO 9001 holds", (Span(0, 8, "NORM"),))
    found = suspects([*texts(80), once], np.random.default_rng(0))
    assert all(word.suggested != "NORM" for item in found.items for word in item.words)


def test_spans_that_cut_words_and_texts_without_words():
    odd = [Sentence.from_text("501", "Ada's", (Span(0, 2, "PER"),)), Sentence.from_text("502", "", ())]
    assert suspects([*texts(80), *odd], np.random.default_rng(0)).checked == 82


def test_few_sentences_or_one_label_are_not_judged():
    assert suspects(texts(49), np.random.default_rng(0)).items == ()
    nothing = [sentence.labelled(()) for sentence in texts(60)]
    assert suspects(nothing, np.random.default_rng(0)).items == ()


def test_the_newest_are_checked(monkeypatch):
    monkeypatch.setattr(module, "MOST_CHECKED", 100)
    wrong, _ = spoilt(texts(40), 0.5, seed=0)
    sentences = [*wrong, *[replace(s, id=str(int(s.id) + 1000)) for s in texts(100, seed=1)]]
    found = suspects(sentences, np.random.default_rng(0))
    assert (found.checked, found.items) == (100, ())


def test_unlabelled_sentences_are_refused():
    with pytest.raises(ValueError, match="task 7 has not been labelled"):
        suspects([*texts(60), replace(texts(1)[0].unlabelled(), id="7")], np.random.default_rng(0))


def test_as_json_follows_the_contract(found):
    made = found.as_json("v3")
    assert (made["version"], made["checked"]) == ("v3", 300)
    item = made["items"][0]
    assert set(item) == {"task", "text", "given", "suggested", "words", "choice"}
    assert isinstance(item["task"], int)
    assert all(set(span) == {"start", "end", "label"} for span in [*item["given"], *item["suggested"]])
    assert all(set(word) == {"start", "end", "given", "suggested", "confidence"} for word in item["words"])


TOPICS = {
    "sport": ["match", "goal", "coach", "team", "league", "score"],
    "money": ["bank", "loan", "profit", "market", "shares", "tax"],
    "weather": ["rain", "storm", "sun", "cloud", "frost", "wind"],
}


def topics(n: int, wrong: set[int]) -> list[Sentence]:
    """Texts about one topic each, of which those in `wrong` are given another."""
    rng = np.random.default_rng(4)
    made = []
    for i in range(n):
        topic = str(rng.choice(list(TOPICS)))
        text = " ".join(rng.choice(TOPICS[topic], 5)) + " today"
        given = next(label for label in TOPICS if label != topic) if i in wrong else topic
        made.append(Sentence.from_text(str(i), text).marked([Choice(given)], ["choices"]))
    return made


def test_wrong_choices_are_found_and_right_ones_suggested():
    wrong = {3, 40, 77, 90}
    found = suspects(topics(120, wrong), np.random.default_rng(0), ["choices"])
    assert (found.checked, found.notes) == (120, ())
    assert {int(item.task) for item in found.items} == wrong
    for item in found.items:
        topic = next(topic for topic, words in TOPICS.items() if item.text.split()[0] in words)
        assert item.choice.given != item.choice.suggested == topic
        assert item.choice.confidence > 0.5
    told = found.as_json("v1")["items"][0]
    assert set(told["choice"]) == {"given", "suggested", "confidence"} and told["words"] == []


def test_same_generator_same_doubtful_choices():
    made = topics(80, {5, 6})
    first, second = (suspects(made, np.random.default_rng(1), ["choices"]) for _ in range(2))
    assert first == second and first.items


def test_what_is_not_looked_at_is_said():
    both = [sentence.marked([*sentence.choices, Choice("other")], ["choices"]) for sentence in topics(60, set())]
    found = suspects(both, np.random.default_rng(0), ["choices"])
    assert (found.items, found.notes) == ((), (module.SEVERAL,))
    assert suspects(texts(10), np.random.default_rng(0), ["spans", "relations"]).notes == (module.RELATIONS,)
    assert found.as_json("v1")["notes"] == [module.SEVERAL]
