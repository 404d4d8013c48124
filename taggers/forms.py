"""The forms in which a model leaves this project: who can load it, and how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """What was written, for the model card."""

    library: str
    """The one that loads it, as the Hugging Face Hub names it."""
    packages: tuple[str, ...]
    """What it was made with, as pip names them; their versions stand in the card."""
    loading: str
    """In Markdown: what lies there and how it is loaded."""


OWN_FOLDER = "model"
"""Where this project's own form lies in an export."""

OURS = f"""\
`{OWN_FOLDER}/` is this project's own form, weights as safetensors where the library has them. With the project's folder
on Python's path, beside this file:

```python
from pathlib import Path

import taggers
from corpus import Sentence

tagger = taggers.load(Path("{OWN_FOLDER}"))
[spans] = tagger.predict([Sentence.from_text("1", "A text to tag")])
```
"""
