"""Words are found in any script, and no visible character is lost."""

import unicodedata
from time import perf_counter

import pytest
from hypothesis import given

from corpus import Sentence, Word, split_words
from tests.corpus.texts import texts

EXAMPLES = {
    "Latin": ("Hello, world!  It's (almost) 5pm.", "Hello , world ! It ' s ( almost ) 5pm ."),
    "numbers": ("1,000.50 3.5kg 1. ٣٫٥ 7,a", "1,000.50 3.5kg 1 . ٣٫٥ 7 , a"),
    "Chinese": ("我爱北京。", "我 爱 北 京 。"),
    "Japanese": ("カーテンを１２個", "カ ー テ ン を １２ 個"),
    "mixed": ("我用iPhone15打电话", "我 用 iPhone15 打 电 话"),
    "Thai": ("สวัสดี กำ ๑๒๓", "ส วั ส ดี กำ ๑๒๓"),
    "Burmese": ("မြန်မာ", "မြ န် မာ"),
    "Arabic": ("كتاب، جديد", "كتاب ، جديد"),
    "Arabic number sign": ("\u0600١٢ \u06dd", "\u0600١٢ \u06dd"),
    "Devanagari": ("नमस्ते दुनिया।", "नमस्ते दुनिया ।"),
    "Korean": ("한국어 나라", "한국어 나라"),
    "combining marks": ("e\u0301te\u0301", "e\u0301te\u0301"),
    "variation selector": ("葛\U000e0100飾", "葛\U000e0100 飾"),
    "emoji": ("ok👍🏽👩\u200d👩\u200d👧!", "ok 👍🏽 👩\u200d👩\u200d👧 !"),
    "flags": ("🇩🇪🇫🇷🇩", "🇩🇪 🇫🇷 🇩"),
    "keycaps": ("1\ufe0f\u20e32\ufe0f\u20e3", "1\ufe0f\u20e3 2\ufe0f\u20e3"),
    "symbols": ("a_b+c=@d€5", "a _ b + c = @ d € 5"),
    "line ends": ("\r\n a\tb\r\n", "a b"),
    "nothing": (" \t\r\n\u3000", ""),
}
JOINED = ["می\u200cخواهم", "क्\u200dष", "co\u00adoperate", "word\u2060joiner"]
UNSEEN = [
    "\u200b",
    "\ufeff",
    "\u00ad",
    "\u200d",
    "\u200e",
    "\x00",
    "\x85",
    "\u2028",
    "\ud83d",
    "\ude00",
    "\ufe0f",
]
HANGUL_FILLERS = "\u115f\u1160\u3164\uffa0"
UNSEEN_MARKS = "\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f"


def is_visible(character: str) -> bool:
    """By Python's own tables, not those of the `regex` package. Unassigned characters count as unknown."""
    category = unicodedata.category(character)
    if character in HANGUL_FILLERS + UNSEEN_MARKS or "VARIATION SELECTOR" in unicodedata.name(character, ""):
        return False
    return category[0] in "LMNPS" or category == "Co"


@pytest.mark.parametrize(("text", "expected"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples(text: str, expected: str) -> None:
    assert [word.text for word in split_words(text)] == expected.split(" ") * bool(expected)


@pytest.mark.parametrize("text", JOINED)
def test_zero_width_characters_inside_a_word_belong_to_it(text: str) -> None:
    assert split_words(text) == (Word(text, 0, len(text)),)


@pytest.mark.parametrize("unseen", UNSEEN)
def test_what_nobody_sees_is_no_word(unseen: str) -> None:
    assert split_words(unseen) == ()
    assert [word.text for word in split_words(f"a {unseen} b")] == ["a", "b"]


@given(texts)
def test_every_visible_character_is_in_exactly_one_word(text: str) -> None:
    words = split_words(text)
    covered = [place for word in words for place in range(word.start, word.end)]
    assert covered == sorted(set(covered))
    assert {place for place, character in enumerate(text) if is_visible(character)} <= set(covered)
    for word in words:
        assert word.text == text[word.start : word.end] != ""


@given(texts)
def test_no_word_holds_a_blank_a_control_character_or_half_a_character(text: str) -> None:
    for word in split_words(text):
        assert not {unicodedata.category(c) for c in word.text} & {"Zs", "Zl", "Zp", "Cc", "Cs"}


@given(texts)
def test_a_word_alone_is_one_word(text: str) -> None:
    for word in split_words(text):
        assert split_words(word.text) == (Word(word.text, 0, len(word.text)),)


@given(texts, texts)
def test_words_do_not_reach_across_a_blank(left: str, right: str) -> None:
    shift = len(left) + 1
    moved = [Word(word.text, word.start + shift, word.end + shift) for word in split_words(right)]
    assert list(split_words(f"{left} {right}")) == [*split_words(left), *moved]


@pytest.mark.parametrize("unit", ["🇩", "👩\u200d", "a\u200d", "\u200d", "!\u0301", "1,", "क्", "กำ", "\ud83d", "a "])
def test_time_is_linear(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    began = perf_counter()
    split_words(text)
    assert perf_counter() - began < 5  # 0.2 s; in quadratic time it would be 25 s and more


def test_sentence_from_ready_made_words() -> None:
    sentence = Sentence.from_words("1", ["New", "York", "!"])
    assert sentence.text == "New York !"
    assert [sentence.text[word.start : word.end] for word in sentence.words] == ["New", "York", "!"]
    assert len(sentence) == 3
