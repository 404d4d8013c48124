"""Text as words with exact offsets, spans, tag schemes, and readers of corpora."""

from corpus.inference import Inference
from corpus.sentence import Sentence, Span, Word
from corpus.tags import Encoded, Scheme
from corpus.windows import Window
from corpus.words import split_words

__all__ = ["Encoded", "Inference", "Scheme", "Sentence", "Span", "Window", "Word", "split_words"]
