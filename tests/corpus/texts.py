"""Texts and labelled sentences in many scripts, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from corpus import Sentence, Span

PIECES = (
    "Maria Straße naïve e\u0301te\u0301 don't U.S. 3.5kg 1,000.50 foo_bar #tag @name http://a.b/?c=d",
    "我爱北京 東京タワー カーテン ひらがな 葛\U000e0100飾 「引用」。",
    "สวัสดีครับ กำ ๑๒๓ ສະບາຍດີ ខ្មែរ မြန်မာ",
    "كتاب، می\u200cخواهم ٣٫٥ \u0600١٢ שלום नमस्ते 한국어 ᠠ\u180e",
    "👍🏽 👩\u200d👩\u200d👧 🇩🇪🇫🇷🇩 1\ufe0f\u20e3 ©\ufe0f 🏴\U000e0067\U000e0062\U000e007f ☃",
    "\u0301 \u200b \ufeff \u00ad \u2060 \u200e \u3164 \u00a0 \u2028 \u3000 \x00 \x85 \ud83d \ude00 \ufffe",
)

chunks = st.sampled_from([chunk for piece in PIECES for chunk in piece.split(" ")])
blanks = st.sampled_from(["", "", " ", "  ", "\t", "\r\n", "\n", "\u00a0"])
mixed = st.lists(st.one_of(chunks, blanks, st.sampled_from("".join(PIECES))), max_size=12).map("".join)
texts = st.one_of(mixed, st.text(st.characters(), max_size=30))
"""Arbitrary text: many scripts, blanks of all sorts at the edges and within, lone surrogates."""

labels = st.sampled_from(["PER", "from-loc", "B-X", "人名", "job title"])


@st.composite
def labelled(draw: st.DrawFn) -> Sentence:
    """A sentence whose spans overlap, cut words, cover only blanks or lie outside the text at will."""
    text = draw(texts)
    places = st.integers(-1, len(text) + 1)
    spans = draw(st.lists(st.builds(Span, places, places, labels), max_size=6))
    return Sentence.from_text("task-7", text, tuple(spans))
