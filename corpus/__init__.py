"""Text as words with exact offsets, spans, tag schemes, and readers of corpora."""

from corpus.inference import Inference
from corpus.sentence import KINDS, Choice, Kind, Mark, Relation, Sentence, Span, Word, kind_of
from corpus.tags import Encoded, Scheme
from corpus.windows import Window
from corpus.words import split_words

__all__ = [
    "KINDS",
    "Choice",
    "Encoded",
    "Inference",
    "Kind",
    "Mark",
    "Relation",
    "Scheme",
    "Sentence",
    "Span",
    "Window",
    "Word",
    "kind_of",
    "split_words",
]
