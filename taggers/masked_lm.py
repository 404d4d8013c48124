"""A masked-language model: what surprises it in a text, before anything has been labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from corpus import Inference, Sentence
from taggers import adaptation, encoders
from taggers.adaptation import OnAdapting, silently
from taggers.masking import logits_at, never_predicted, predicted
from taggers.reading import BATCH_PIECES, TextBatch, text_batches, untagged
from taggers.storage import whole
from taggers.word_pieces import PieceReader

LENGTH = 128
"""L, word pieces of a text that are read, special ones among them, as in the code of Yuan et al. 2020."""


class MaskedLanguageModel:
    """Predicts word pieces from their context; ALPS (Yuan et al. 2020) chooses by what it cannot predict."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, seed: int = 0) -> None:
        self._device = encoders.best_device()
        self._model = model
        torch.nn.Module.to(model, self._device).eval()
        self._tokenizer = tokenizer
        self._never = never_predicted(tokenizer)
        self._reader = PieceReader(tokenizer, min(LENGTH, encoders.longest_input(model, tokenizer)))
        self._new_head = False
        self.seed = seed

    @classmethod
    def load(cls, name: str, *, seed: int = 0) -> Self:
        """A folder (of `save`, or of anyone) or a Hugging Face Hub name, as float32.

        Raises ValueError if there is none of that name, if it has no head that predicts words, or if its tokenizer
        is not a fast one.
        """
        source = encoders.encoder_source(name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, add_prefix_space=True, trust_remote_code=False)
            with encoders.reading_weights():
                model, found = AutoModelForMaskedLM.from_pretrained(
                    source, output_loading_info=True, **encoders.DATA_ONLY
                )
        except encoders.OUT_OF_REACH as error:
            raise ValueError(
                f"masked-language model {name!r} is neither a folder nor within reach on the Hugging Face Hub; "
                f"check the name and the network ({error})"
            ) from error
        except ValueError as error:
            raise ValueError(f"{name!r} is of a kind that has no masked-language model") from error
        if found["missing_keys"]:
            raise ValueError(
                f"{name!r} has no masked-language head (it lacks {', '.join(sorted(found['missing_keys']))}): take "
                f"one that has, or adapt this encoder to the project's texts, which gives it one"
            )
        if not tokenizer.is_fast:
            raise ValueError(f"masked-language model {name!r} has no fast tokenizer, which is needed to read words")
        return cls(model.float(), tokenizer, seed=seed)

    @classmethod
    def tied(cls, encoder: str = encoders.PACKAGED, *, seed: int = 0) -> Self:
        """An encoder with a new head of its architecture's own form, whose last layer is the encoder's table of word
        pieces. It can predict nothing before `adapt`.

        Raises ValueError if the encoder cannot be had or its architecture has no masked-language model.
        """
        pretrained, tokenizer = encoders.load_encoder(encoder)
        pretrained.config.tie_word_embeddings = True
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                model = AutoModelForMaskedLM.from_config(pretrained.config)
            except ValueError as error:
                raise ValueError(f"encoder {encoder!r} is of a kind that has no masked-language model") from error
        left_out = model.base_model.load_state_dict(pretrained.state_dict(), strict=False).missing_keys
        if left_out:
            raise ValueError(f"encoder {encoder!r} lacks weights of its masked-language model: {', '.join(left_out)}")
        tied = cls(model, tokenizer, seed=seed)
        tied._new_head = True
        return tied

    def infer(self, sentences: Sequence[Sentence]) -> Iterator[Inference]:
        """Batches of like length as `Tagger.infer` gives them; every sentence occurs in exactly one.

        `surprisal_BL` (B, 128) is eq. 2 of Yuan et al. 2020: the unmasked text is read, and the cross-entropy in nats
        of a random 15% of its word pieces (at least one) against themselves stands at their positions. Position 0 is
        the first special piece; special pieces are never evaluated. The only tag is "O".
        Which 15% depends on the seed and the text's words alone.
        """
        # A word has at least one piece, so more words than that are never reached.
        for batch in text_batches(self._reader, sentences, BATCH_PIECES[self._device.type], words=LENGTH):
            yield untagged(batch, surprisal_BL=self._surprisal(batch, sentences))

    @torch.inference_mode()
    def _surprisal(self, batch: TextBatch, sentences: Sequence[Sentence]) -> NDArray[np.float32]:
        surprisal_BL = np.zeros((len(batch.indices), LENGTH), np.float32)
        rows = [(b, of_text[0]) for b, of_text in enumerate(batch.passages) if of_text]
        if not rows:
            return surprisal_BL
        chosen = [
            predicted(passage.pieces, self._never, self._draws(sentences[batch.indices[b]])) for b, passage in rows
        ]
        row_N = np.repeat(np.arange(len(rows)), list(map(len, chosen)))
        position_N = np.array([i for of_row in chosen for i in of_row], dtype=np.int64)
        pieces = self._reader.batch([passage for _, passage in rows]).to(self._device)
        flat_N = torch.from_numpy(row_N * pieces.pieces_RP.shape[1] + position_N).to(self._device)
        logits_NV = logits_at(self._model, pieces.pieces_RP, pieces.mask_RP, flat_N)
        loss_N = cross_entropy(logits_NV, pieces.pieces_RP.flatten()[flat_N], reduction="none")
        surprisal_BL[np.array([b for b, _ in rows])[row_N], position_N] = loss_N.cpu().numpy()
        return surprisal_BL

    def _draws(self, sentence: Sentence) -> np.random.Generator:
        words = "\0".join(word.text for word in sentence.words).encode("utf-8", "surrogatepass")
        return np.random.default_rng([self.seed, int.from_bytes(hashlib.blake2b(words, digest_size=16).digest())])

    def adapt(
        self,
        texts: Sequence[Sentence],
        *,
        seconds: float = 300,
        steps: int | None = None,
        on_progress: OnAdapting = silently,
    ) -> dict[str, float]:
        """Learn to predict 15% of the word pieces of `texts` from the rest, for so many seconds in all.

        Of those pieces 80% are masked, 10% replaced and 10% left (Devlin et al. 2019, sec. 3.1), drawn anew each
        time. With `steps`, so many steps instead, which the same seed repeats exactly. An adaptation that
        `on_progress` interrupts has changed the model. No label is read.

        Returns the loss in nats and the accuracy on masked pieces of texts that were held out, before and after, and
        how much was read. Raises ValueError if no text has a word or the tokenizer has no mask.
        """
        new_head, self._new_head = self._new_head, False
        return adaptation.adapt(
            self._model,
            self._tokenizer,
            texts,
            seed=self.seed,
            new_head=new_head,
            seconds=seconds,
            steps=steps,
            on_progress=on_progress,
        )

    def save(self, folder: Path) -> None:
        """Write an ordinary Hugging Face folder, whole or not at all: `load` and `load_encoder` both read it.

        Raises FileExistsError if `folder` exists: a stored model is never overwritten.
        """
        with whole(folder) as unfinished:
            encoders.save_encoder(unfinished, self._model, self._tokenizer)
