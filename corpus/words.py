"""Splitting text of any script into words, by Unicode properties alone."""

from __future__ import annotations

import regex

from corpus.sentence import Word

_UNSPACED = r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}]"
_CHARACTER = rf"[[\p{{L}}\p{{Nl}}\p{{No}}]&&{_UNSPACED}]"
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}\p{{Prepended_Concatenation_Mark}}]--{_CHARACTER}]"
# Soft hyphen, Mongolian vowel separator, zero-width (non-)joiner, word joiner: part of a word when inside it.
_JOINER = r"[\u00ad\u180e\u200c\u200d\u2060]"
_INVISIBLE = r"[\s\p{Cc}\p{Cs}\p{Cf}\p{Default_Ignorable_Code_Point}]"

_WORD = regex.compile(
    rf"""
      [0-9#*]\ufe0f?\u20e3  # keycap emoji
    | (?!\p{{DI}}){_LETTER} (?: {_LETTER}++ | {_JOINER}++(?={_LETTER}) | (?<=\p{{Nd}})[.,٫٬](?=\p{{Nd}}) )*+
    | \p{{RI}}{{1,2}}[\p{{M}}\u200d]*+      # flag: on a row of them \X takes quadratic time
    | (?!{_INVISIBLE}|{_LETTER})\X\p{{M}}*+  # one character of an unspaced script, or a symbol
    """,
    regex.VERSION1 | regex.VERBOSE,
)


def split_words(text: str) -> tuple[Word, ...]:
    """The words of `text` with their offsets, for any language, in linear time.

    Scripts that put no blanks between words (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar) are
    split by character, with its combining marks. Elsewhere a run of letters, digits and marks is a word;
    separators inside a number (1,000.50) do not split it. Any other visible character (a punctuation
    mark, a symbol, a whole emoji) is a word of its own. Blanks, control characters, zero-width characters
    outside words and lone surrogates belong to no word; every visible character belongs to exactly one.
    """
    return tuple(Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(text))
