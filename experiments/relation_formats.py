"""Readers of corpora of relations between entities that are given with the text, as they are published."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus import Relation, Sentence, Span
from corpus.lines import read_lines
from experiments.text_formats import json_lines

log = logging.getLogger("active_tagger")

ENTITY = "entity"
"""What an entity is called in a corpus that does not tell what it is."""
NONE = frozenset({"NA", "None", "Other", ""})
"""Names of no relation."""

_SEMEVAL = re.compile(r'\d+\t"(.*)"\s*')
_MARKED = re.compile(r"(.*)<e1>(.*)</e1>(.*)<e2>(.*)</e2>(.*)", re.DOTALL)
_DIRECTED = re.compile(r"(.+)\(e([12]),e([12])\)")


def read_semeval(path: Path, name: str) -> list[Sentence]:
    """SemEval-2010 Task 8 (Hendrickx et al. 2010): a numbered sentence in quotes with `<e1>` and `<e2>`, its relation
    with a direction, `Cause-Effect(e2,e1)`, or "Other", which is none, a comment, and a blank line.

    Sentences are named `name` and their number: "train:12". Raises ValueError, with file and line, for anything else.
    """
    found = []
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        if not line[:1].isdigit():
            continue
        quoted = _SEMEVAL.fullmatch(line)
        marked = _MARKED.fullmatch(quoted[1]) if quoted else None
        label = lines[number].strip() if number < len(lines) else ""
        directed = _DIRECTED.fullmatch(label)
        if marked is None or (directed is None and label != "Other"):
            raise ValueError(
                f"{path}:{number}: should be a number, a tab and a sentence in quotes with <e1> and <e2>, and in the "
                "next line a relation as Cause-Effect(e2,e1), or Other"
            )
        before, one, between, other, after = marked.groups()
        start = len(before) + len(one) + len(between)
        ends = {"1": Span(len(before), len(before) + len(one), ENTITY), "2": Span(start, start + len(other), ENTITY)}
        relations = [] if directed is None else [Relation(ends[directed[2]], ends[directed[3]], directed[1])]
        text = before + one + between + other + after
        found.append(_sentence(f"{name}:{line.split(chr(9))[0]}", text, ends.values(), relations))
    return found


def read_nyt10(path: Path, name: str) -> list[Sentence]:
    """NYT-10 (Riedel et al. 2010), a line or an object for a sentence with two entities and their relation, "NA" for
    none; bags, which are the lines of one pair of entities, are not made. Three forms are published:

    - Lin et al. 2016: ids and names of both entities, relation and sentence, parted by tabs, at its end `###END###`.
      An entity's words are joined by "_", in the name as in the sentence.
    - JSON objects, one a line, of `text`, `relation`, and `h` and `t` with their `name` or `pos` (first and last + 1).
    - A JSON list of objects of `sentence`, `relation`, and `head` and `tail` with their `word`.

    Names without a place are looked for, whole words first. A line that does not hold both is left out, and how many
    these are is logged. Raises ValueError, with file and line, for any other line.
    """
    found, left_out = [], 0
    for number, text, label, ends in _nyt10(path):
        places = _places(text, ends)
        if places is None:
            left_out += 1
            continue
        relations = [] if label in NONE else [Relation(*places, label)]
        found.append(_sentence(f"{name}:{number}", text, places, relations))
    if left_out:
        log.warning("%s: %s lines without both of their entities in the sentence are left out", path, left_out)
    return found


_End = tuple[str, tuple[int, int] | None]
"""An entity: its name, and its place if that is told."""


def _nyt10(path: Path) -> Iterator[tuple[int, str, str, tuple[_End, _End]]]:
    """Line, text, relation, head and tail."""
    lines = read_lines(path)
    first = next((line.lstrip()[:1] for line in lines if line.strip()), "")
    if first == "[":
        objects: Iterable[tuple[int, Mapping[str, Any]]] = enumerate(json.loads("\n".join(lines)), start=1)
    elif first == "{":
        objects = json_lines(path)
    else:
        yield from _tabbed(path, lines)
        return
    for number, row in objects:
        try:
            if "sentence" in row:
                ends = (str(row["head"]["word"]), None), (str(row["tail"]["word"]), None)
                yield number, row["sentence"], row["relation"], ends
            else:
                yield number, row["text"], row["relation"], (_end(row["h"]), _end(row["t"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}:{number}: should have a text, its relation, and a head and a tail: {error!r}"
            ) from error


def _end(entity: Mapping[str, Any]) -> _End:
    if "pos" not in entity:
        return str(entity["name"]), None
    start, stop = map(int, entity["pos"])
    return "", (start, stop)


def _tabbed(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, str, str, tuple[_End, _End]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) < 6:
            raise ValueError(
                f"{path}:{number}: should be two ids, two names, a relation and a sentence, parted by tabs, "
                f"but has {len(cells)} columns"
            )
        text = " ".join(cells[5:]).replace("###END###", "").strip()
        yield number, text, cells[4].strip(), ((cells[2].strip(), None), (cells[3].strip(), None))


def _places(text: str, ends: Iterable[_End]) -> tuple[Span, Span] | None:
    """Head and tail in the text, not the same place twice; None if one of them is not there."""
    spans: list[Span] = []
    for name, place in ends:
        free = [found for found in ([place] if place else occurrences(text, name)) if Span(*found, ENTITY) not in spans]
        if not free or not 0 <= free[0][0] < free[0][1] <= len(text):
            return None
        spans.append(Span(*free[0], ENTITY))
    return spans[0], spans[1]


def read_wiki_kbp(path: Path, name: str) -> list[Sentence]:
    """Wiki-KBP as CoType has it (Ren et al. 2017): a JSON object a line with `sentText`, `entityMentions` (`text`,
    `label`, of several with commas the first) and `relationMentions` (`em1Text`, `em2Text`, `label`, "None" for none).

    Mentions have no places: they are looked for, whole words first, those of one text one after another. Relations are
    between the first mentions of their texts. Pairs that no relation is told of have none.
    Sentences are named `name` and their line. Raises ValueError, with file and line, for any other line.
    """
    found = []
    for number, row in json_lines(path):
        try:
            text = row["sentText"].rstrip()
            entities = [(mention["text"], mention["label"].split(",")[0]) for mention in row["entityMentions"]]
            told = [(one["em1Text"], one["em2Text"], one["label"]) for one in row["relationMentions"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}:{number}: should have sentText, entityMentions and relationMentions: {error!r}"
            ) from error
        taken: set[tuple[int, int]] = set()
        first: dict[str, Span] = {}
        spans = []
        for mention, label in entities:
            free = [place for place in occurrences(text, mention) if place not in taken]
            if not free and mention not in first:
                raise ValueError(f"{path}:{number}: the mention {mention!r} is not in the sentence")
            if free:
                taken.add(free[0])
                spans.append(Span(*free[0], label))
                first.setdefault(mention, spans[-1])
        if missing := [end for one, other, _ in told for end in (one, other) if end not in first]:
            raise ValueError(f"{path}:{number}: {missing[0]!r} has a relation, but is none of the mentions")
        relations = [Relation(first[one], first[other], label) for one, other, label in told if label not in NONE]
        found.append(_sentence(f"{name}:{number}", text, spans, [one for one in relations if one.head != one.tail]))
    return found


def occurrences(text: str, name: str) -> list[tuple[int, int]]:
    """Where `name` stands in `text`: as whole words, or inside of words if that is nowhere."""
    if not name:
        return []
    whole = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    return whole or [match.span() for match in re.finditer(re.escape(name), text)]


def _sentence(id: str, text: str, entities: Iterable[Span], relations: Iterable[Relation]) -> Sentence:
    """Each relation once, in the order given."""
    marked = Sentence.from_text(id, text).marked(dict.fromkeys(relations), ["relations"])
    return replace(marked, entities=tuple(sorted(entities)))
