"""Corpora are read in their publishers' formats, split where they have no test set, and errors say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corpus import Sentence, Span
from corpus.conll import write_conll
from experiments.corpora import FEWEST, Corpus, load_corpus
from experiments.formats import read_conll2012
from experiments.published import KNOWN


def write(folder: Path, **files: str) -> Path:
    """Write files, in whose names __ stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder.parent


def marked(sentence: Sentence) -> list[tuple[str, str]]:
    """Each span's own words and its label."""
    assert sentence.spans is not None
    return [(sentence.text[span.start : span.end], span.label) for span in sentence.spans]


def related(sentence: Sentence) -> list[tuple[str, str, str]]:
    """Each relation as head, label and tail."""
    assert sentence.relations is not None
    parts = [(one.head, one.label, one.tail) for one in sentence.relations]
    return [(sentence.text[a.start : a.end], label, sentence.text[b.start : b.end]) for a, label, b in parts]


def words(sentence: Sentence) -> list[str]:
    assert all(sentence.text[word.start : word.end] == word.text for word in sentence.words)
    return [word.text for word in sentence.words]


def test_conll2003(tmp_path: Path) -> None:
    train = "-DOCSTART- -X- O O\n\nAda NNP I-NP I-PER\nMaria NNP I-NP B-PER\nmet VBD I-VP O\n\nOslo NNP I-NP I-LOC\n"
    corpora = write(tmp_path / "conll2003", eng__train=train, eng__testb="Bonn NNP I-NP I-LOC\n", eng__testa="broken\n")
    corpus = load_corpus("conll2003", corpora)
    assert [marked(s) for s in corpus.train] == [[("Ada", "PER"), ("Maria", "PER")], [("Oslo", "LOC")]]
    assert [(s.id, marked(s)) for s in corpus.test] == [("test:1", [("Bonn", "LOC")])]
    assert corpus.groups == {}


@pytest.mark.parametrize("name", ["atis", "snips"])
def test_slots_and_intents(tmp_path: Path, name: str) -> None:
    train = {
        "train__seq__in": "fly to bonn\nhello\n",
        "train__seq__out": "O O B-city\nO\n",
        "train__label": "fly\nhi\n",
    }
    test = {"test__seq__in": "hello\n", "test__seq__out": "O\n", "test__label": "hi\n"}
    corpus = load_corpus(name, write(tmp_path / name, **train, **test))
    assert [marked(s) for s in corpus.train] == [[("bonn", "city")], []]
    assert corpus.groups == {"train:1": "fly", "train:2": "hi"}
    assert [s.text for s in corpus.test] == ["hello"], "although it stands in the pool too"


def test_fmtod_words_may_hold_colons(tmp_path: Path) -> None:
    train = (
        "wake:O me:O at:B-datetime 7:30:I-datetime ::O <=> alarm__set\n\nrain:B-weather__noun ?:O <=> weather__find\n"
    )
    corpus = load_corpus("fmtod", write(tmp_path / "fmtod", train=train, test="snooze:O <=> alarm__snooze\n"))
    first, second = corpus.train
    assert words(first) == ["wake", "me", "at", "7:30", ":"]
    assert (marked(first), marked(second)) == ([("at 7:30", "datetime")], [("rain", "weather__noun")])
    assert corpus.groups == {"train:1": "alarm__set", "train:3": "weather__find"}


def test_weibo_is_text_without_blanks(tmp_path: Path) -> None:
    long = "".join(f"{letter}{number}\tO\n" for number, letter in enumerate("abcdefghijk"))
    train = f"我0\tO\n在0\tO\n上0\tB-GPE.NAM\n海1\tI-GPE.NAM\n20\tO\n01\tO\n\n{long}𠀋0\tO\n"
    corpora = write(tmp_path / "weibo_ner", weiboNER_2nd_conll__train=train, weiboNER_2nd_conll__test="好0\tO\n")
    first, second = load_corpus("weibo", corpora).train
    assert (first.text, marked(first)) == ("我在上海20", [("上海", "GPE.NAM")])
    assert words(first) == list("我在上海20")
    assert second.text == "abcdefghijk𠀋", "characters count beyond 9 in their word"


CONLL04 = (
    "#doc 7\n0\tAda\tB-Peop\t['N']\t[0]\n1\tBerg\tI-Peop\t['Work_For', 'Live_In']\t[3, 5]\n2\tof\tO\t['N']\t[2]\n"
    "3\tAcme\tB-Org\t['OrgBased_In']\t[5]\n4\tin\tO\t['N']\t[4]\n5\tOslo\tB-Loc\t['N']\t[5]\n"
    "#doc 9\n0\t#\tO\t['N']\t[0]\n"
)


def test_conll04_entities(tmp_path: Path) -> None:
    train = CONLL04
    corpora = write(tmp_path / "conll04", train__txt=train, test__txt="#doc 1\n0\tOslo\tB-Loc\t['N']\t[0]\n")
    corpus = load_corpus("conll04", corpora)
    assert corpus.kind == "spans"
    assert [words(s) for s in corpus.train] == [["Ada", "Berg", "of", "Acme", "in", "Oslo"], ["#"]]
    assert [marked(s) for s in corpus.train] == [[("Ada Berg", "Peop"), ("Acme", "Org"), ("Oslo", "Loc")], []]


def test_conll04_relations_are_between_its_entities(tmp_path: Path) -> None:
    corpora = write(tmp_path / "conll04", train__txt=CONLL04, test__txt=CONLL04, dev__txt=CONLL04)
    corpus = load_corpus("conll04-relations", corpora, "relations", dev=True)
    first, second = corpus.train
    assert corpus.kind == "relations" and len(corpus.dev) == 2
    assert related(first) == [
        ("Ada Berg", "Work_For", "Acme"),
        ("Ada Berg", "Live_In", "Oslo"),
        ("Acme", "OrgBased_In", "Oslo"),
    ]
    assert [first.text[e.start : e.end] for e in first.entities or ()] == ["Ada Berg", "Acme", "Oslo"]
    assert first.unlabelled().entities == first.entities, "they are given, and stay"
    assert (second.relations, second.entities) == ((), ())


def gold(document: str, *sentences: list[tuple[str, str]]) -> str:
    """Words and bracketed names in the 13 columns of CoNLL-2012."""
    blocks = [
        "\n".join(
            f"{document}   0   {number}   {word}   NN   (NP*)   -   -   -   speaker#1   {name}   (ARG0*)   (12|3)"
            for number, (word, name) in enumerate(sentence)
        )
        for sentence in sentences
    ]
    return f"#begin document ({document}); part 000\n" + "\n\n".join(blocks) + "\n\n#end document\n"


ADA = [("Ada", "(PERSON*"), ("Berg", "*)"), ("left", "*"), ("Oslo", "(GPE)"), ("today", "(DATE)")]


def ontonotes(folder: Path, part: str, language: str, document: str, text: str) -> None:
    path = folder / "ontonotes" / part / "data" / language / "annotations" / f"{document}.v4_gold_conll"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_ontonotes_by_genre(tmp_path: Path) -> None:
    train = gold("bc/cctv/00/cctv_0000", ADA, [("Fine", "*"), ("#", "*")])
    ontonotes(tmp_path, "train", "english", "bc/cctv/00/cctv_0000", train)
    ontonotes(tmp_path, "train", "english", "nw/wsj/00/wsj_0001", gold("nw/wsj/00/wsj_0001", [("Hm", "*")]))
    ontonotes(tmp_path, "train", "english", "pt/nt/40/nt_4001", gold("pt/nt/40/nt_4001", [("Behold", "*")]))
    ontonotes(tmp_path, "test", "english", "tc/ch/00/ch_0001", gold("tc/ch/00/ch_0001", [("Bonn", "(GPE)")]))
    ontonotes(
        tmp_path, "train", "chinese", "mz/si/10/si_1001", gold("mz/si/10/si_1001", [("上海", "(GPE)"), ("很", "*")])
    )
    ontonotes(tmp_path, "test", "chinese", "mz/si/10/si_1002", gold("mz/si/10/si_1002", [("好", "*")]))
    english, chinese = load_corpus("ontonotes", tmp_path), load_corpus("ontonotes-chinese", tmp_path)
    assert marked(english.train[0]) == [("Ada Berg", "PERSON"), ("Oslo", "GPE"), ("today", "DATE")]
    assert [words(s) for s in english.train[1:]] == [["Fine", "#"], ["Hm"]], "without the Bible"
    assert [english.groups[s.id] for s in english.train] == ["bc", "bc", "nw"]
    assert (chinese.train[0].text, marked(chinese.train[0])) == ("上海很", [("上海", "GPE")])


BROKEN = [
    pytest.param("fmtod", "train", "wake:O up\n", "train:1.*<=> intent", id="no intent"),
    pytest.param("fmtod", "train", "\nwake <=> alarm\n", "train:2.*word:TAG", id="no tag"),
    pytest.param("fmtod", "train", "wake:X-a <=> alarm\n", "train:1.*X-a", id="not BIO"),
    pytest.param("weibo_ner", "weiboNER_2nd_conll.train", "我0\tO\n在\tO\n", "train:2.*its number", id="no number"),
    pytest.param("conll04", "train.txt", "#doc 1\n0\tAda\n", "train.txt:2.*5 columns", id="no entity column"),
    pytest.param(
        *("conll04", "train.txt", "#doc 1\n0\tAda\tB-P\t['At']\t[1]\n1\tin\tO\t['N']\t[1]\n"),
        *("train.txt:2.*last words of entities",),
        id="a relation to no entity",
    ),
    pytest.param("sst2", "train.tsv", "fine\t1\nfine 1\n", "train.tsv:2.*no label", id="no tab"),
    pytest.param("sst2", "train.tsv", "fine\t7\n", "train.tsv:1.*'7' is no label .*0, 1", id="an unknown label"),
    pytest.param("ag_news", "alps_dev.tsv", "only a text\n", "alps_dev.tsv:1.*description", id="no class"),
    pytest.param("trec", "TREC.train.all", "9 Who ?\n", "train.all:1.*'9' is no label", id="an unknown question"),
    pytest.param("csabstruct", "train.jsonl", "{}\n", "train.jsonl:1.*as many", id="no sentences"),
    pytest.param("csabstruct", "train.jsonl", "\n{\n", "train.jsonl:2.*no JSON", id="no JSON"),
    pytest.param("pubmed", "train.txt", "###1\nMETHODS\n", "train.txt:2.*a text and its label", id="no sentence"),
    pytest.param(
        *("semeval2010-task8", "TRAIN_FILE.TXT", '1\t"An <e1>a</e1> and b."\nOther\n', "TRAIN_FILE.TXT:1.*<e2>"),
        id="one nominal",
    ),
    pytest.param("nyt10", "train.txt", "m.1\tm.2\tada\n", "train.txt:1.*3 columns", id="no sentence to relate in"),
    pytest.param("wiki-kbp", "train.json", '{"sentText": "Ada"}\n', "train.json:1.*entityMentions", id="no mentions"),
]


@pytest.mark.parametrize(("folder", "file", "text", "message"), BROKEN)
def test_errors_name_file_and_line(tmp_path: Path, folder: str, file: str, text: str, message: str) -> None:
    name, known = next((name, known) for name, known in KNOWN.items() if known.folder == folder)
    write(tmp_path / folder, **{known.test: text, file: text})
    with pytest.raises(ValueError, match=message):
        load_corpus(name, tmp_path)


def test_a_bracket_left_open_ends_with_the_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a_0001.v4_gold_conll"
    path.write_text(gold("bc/a", [("in", "*"), ("Bad", "(GPE*"), ("Salz", "*")], [("is", "*"), ("Ada", "(PERSON*)")]))
    sentences, genres = read_conll2012(path)
    assert [marked(s) for s in sentences] == [[("Bad Salz", "GPE")], [("Ada", "PERSON")]]
    assert ([s.id for s in sentences], genres) == (["bc/a:1", "bc/a:2"], ["bc", "bc"])


@pytest.mark.parametrize("cell", ["PERSON*", "(PERSON", "(A(B*", "-"])
def test_brackets_that_cannot_be_read(tmp_path: Path, cell: str) -> None:
    ontonotes(tmp_path, "train", "english", "bc/a/00/a_0001", gold("bc/a/00/a_0001", [("Ada", "*"), ("B", cell)]))
    ontonotes(tmp_path, "test", "english", "bc/a/00/a_0002", gold("bc/a/00/a_0002", [("Ada", "*")]))
    with pytest.raises(ValueError, match=r"v4_gold_conll:3: .*no bracketed name"):
        load_corpus("ontonotes", tmp_path)


@pytest.mark.parametrize("name", KNOWN)
def test_a_missing_file_is_named_with_its_publisher_and_the_option(tmp_path: Path, name: str) -> None:
    known = KNOWN[name]
    with pytest.raises(FileNotFoundError) as caught:
        load_corpus(name, tmp_path)
    message = str(caught.value)
    files = [part + ending for part in (known.train, known.test) for ending in known.files]
    assert all(expected in message for expected in (*files, known.published, str(tmp_path / known.folder), "--corpora"))


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "fmtod", train="a:O <=> x\n", test="b:O <=> x\n")
    monkeypatch.setenv("ACTIVE_TAGGER_CORPORA", str(tmp_path))
    assert load_corpus("fmtod").train[0].text == "a"
    monkeypatch.delenv("ACTIVE_TAGGER_CORPORA")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(FileNotFoundError, match=r"corpora.fmtod"):
        load_corpus("fmtod")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError) as caught:
        load_corpus("nothing-of-the-kind")
    assert all(name in str(caught.value) for name in KNOWN)


def export(path: Path, labelled: int, unlabelled: int = 3) -> Path:
    """Tasks that name a town each; the first of them labelled, the second with nothing in it."""
    tasks: list[dict[str, Any]] = []
    for id in range(1, labelled + unlabelled + 1):
        text = f"No {id} lives in Bonn"
        value = {"start": len(text) - 4, "end": len(text), "text": "Bonn", "labels": ["LOC"]}
        region = {"id": "r", "from_name": "label", "to_name": "text", "type": "labels", "value": value}
        done = {"id": id, "result": [] if id == 2 else [region], "was_cancelled": False, "ground_truth": False}
        done |= {"completed_by": 1, "created_at": "2026-03-06T01:00:00Z", "updated_at": "2026-03-06T01:00:00Z"}
        annotations = [done] if id <= labelled else []
        tasks.append(
            {"id": id, "created_at": "2026-03-06T01:00:00Z", "data": {"text": text}, "annotations": annotations}
        )
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def ids(corpus: Corpus) -> tuple[set[str], set[str]]:
    return {s.id for s in corpus.train}, {s.id for s in corpus.test}


def test_a_fifth_of_an_export_becomes_the_test_set(tmp_path: Path) -> None:
    path = export(tmp_path / "Mine.JSON", labelled=100)
    corpus = load_corpus(str(path))
    train, test = ids(corpus)
    assert (corpus.name, len(train), len(test)) == ("Mine", 80, 20)
    assert train | test == {str(id) for id in range(1, 101)} and not train & test
    assert all(s.spans is not None for s in (*corpus.train, *corpus.test))
    assert {s.id for s in (*corpus.train, *corpus.test) if not s.spans} == {"2"}
    assert [int(s.id) for s in corpus.train] == sorted(map(int, train)), "in the export's order"
    numbers = sorted(map(int, test))
    assert numbers[0] <= 25 and numbers[-1] > 75, "from all of it"


def test_the_split_is_the_same_however_the_texts_are_ordered(tmp_path: Path) -> None:
    path = export(tmp_path / "mine.json", labelled=FEWEST)
    split = ids(load_corpus(str(path)))
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]), encoding="utf-8")
    assert ids(load_corpus(str(path))) == split


def test_too_few_labels_to_hold_any_back(tmp_path: Path) -> None:
    path = export(tmp_path / "mine.json", labelled=FEWEST - 1, unlabelled=500)
    with pytest.raises(ValueError, match=rf"holds {FEWEST - 1} labelled texts: at least {FEWEST}"):
        load_corpus(str(path))


def test_texts_without_words_are_left_out(tmp_path: Path) -> None:
    path = export(tmp_path / "mine.json", labelled=FEWEST + 1)
    tasks = json.loads(path.read_text())
    tasks[0]["data"]["text"], tasks[0]["annotations"][0]["result"] = " ", []
    path.write_text(json.dumps(tasks), encoding="utf-8")
    train, test = ids(load_corpus(str(path)))
    assert train | test == {str(id) for id in range(2, FEWEST + 2)}


def test_ids_are_unique(tmp_path: Path) -> None:
    path = export(tmp_path / "mine.json", labelled=FEWEST)
    tasks = json.loads(path.read_text())
    path.write_text(json.dumps([*tasks, tasks[4]]), encoding="utf-8")
    with pytest.raises(ValueError, match="two texts with the id '5'"):
        load_corpus(str(path))


TOWNS = [Sentence.from_words(f"{i}", ["In", f"Bad{i}", "Salz", "Bonn"]) for i in range(60)]


@pytest.mark.parametrize("scheme", ["IOB1", "BIO", "BIOES"])
def test_conll_columns_in_any_scheme(tmp_path: Path, scheme: Any) -> None:
    path = tmp_path / "towns.conll"
    sentences = [s.labelled((town(s, 1, 2), town(s, 3, 3))) for s in TOWNS]
    assert not write_conll(sentences, path, scheme=scheme)
    corpus = load_corpus(str(path))
    assert (len(corpus.train), len(corpus.test)) == (48, 12)
    for sentence in (*corpus.train, *corpus.test):
        assert marked(sentence) == [(" ".join(words(sentence)[1:3]), "LOC"), ("Bonn", "LOC")]


def town(sentence: Sentence, first: int, last: int) -> Span:
    return Span(sentence.words[first].start, sentence.words[last].end, "LOC")


def test_a_folder_with_its_own_test_set(tmp_path: Path) -> None:
    write(tmp_path / "mine", train__txt="Oslo B-LOC\n\nhm O\n", Test__txt="Bonn S-LOC\n", dev__txt="broken\n")
    corpus = load_corpus(str(tmp_path / "mine"))
    assert (corpus.name, [marked(s) for s in corpus.train]) == ("mine", [[("Oslo", "LOC")], []])
    assert [marked(s) for s in corpus.test] == [[("Bonn", "LOC")]]
    write(tmp_path / "mine", old_test__txt="Bonn B-LOC\n")
    with pytest.raises(ValueError, match=r"one file .*'test'.*: Test.txt, old_test.txt"):
        load_corpus(str(tmp_path / "mine"))


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "mine", train__txt="Oslo B-LOC\n", test__txt="\n")
    with pytest.raises(ValueError, match="no text to test on"):
        load_corpus(str(tmp_path / "mine"))
