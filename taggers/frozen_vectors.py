"""Contextual word vectors of an encoder that never learns: computed once for each text, then read from a store."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from corpus import Word
from taggers import encoders, vector_store
from taggers.reading import BATCH_PIECES, SORTED_AT_ONCE
from taggers.unpadded import Unpadded
from taggers.word_pieces import Passage, PieceReader, within_budget

Layers = Literal["mean", "last"]
FLAIR = "flair:"
LARGEST = float(np.finfo(np.float16).max)


class FrozenVectors:
    """Vectors of words in context: what an encoder's last layer says of a word's first piece, or, as a better feature,
    the mean over all its layers and all the word's pieces.

    They are kept where `vector_store.keep_in` says, by the encoder's weights and the text's words. Only texts that are
    not there are read, and only then the encoder is loaded.
    """

    def __init__(self, encoder: str, layers: Layers = "mean") -> None:
        """`encoder` is "minilm" (packaged), a folder, a Hugging Face Hub name, or "flair:" and a language model of
        Flair's, by name or file, or two of them: "flair:news-forward+news-backward" (it has one layer to tell of).

        Raises ValueError if there is none of that name. What else `encoders.load_encoder` refuses, `of` does.
        """
        self._encoder, self._layers = _encoder(encoder), layers
        self.width = self._encoder.width
        self.fingerprint = self._encoder.fingerprint
        """A hash of the weights and the vocabulary."""

    def of(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float16]]:
        """One (words, width) array for each text. They are not to be written to."""
        keys = [_key(text) for text in texts]
        store = vector_store.store(self._stored_as, self.width)
        known = store.get(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        by_length = sorted(missing, key=lambda key: sum(map(len, missing[key])))
        for start in range(0, len(by_length), SORTED_AT_ONCE):
            some = by_length[start : start + SORTED_AT_ONCE]
            new = dict(zip(some, self._read([missing[key] for key in some]), strict=True))
            store.put(new)
            known |= new | store.get(some)  # what is on disk need not be in memory
        return [known[key] for key in keys]

    @property
    def _stored_as(self) -> str:
        return f"{self.fingerprint}-{self._layers}"

    def _read(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float16]]:
        return self._encoder.read(texts, self._layers)


class FrozenTextVectors(FrozenVectors):
    """Vectors of texts: the means of their words' vectors, so that a store of long texts stays small.

    `of` gives a (1, width) array for each text; none of them may be without words.
    """

    @property
    def _stored_as(self) -> str:
        return f"{super()._stored_as}-text"

    def _read(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float16]]:
        of_words = super()._read(texts)
        return [vectors.mean(axis=0, dtype=np.float32, keepdims=True).astype(np.float16) for vectors in of_words]


class Encoder(Protocol):
    """Reads texts; `fingerprint` and `width` are told without loading it if that can be."""

    fingerprint: str
    width: int

    def read(self, texts: Sequence[Sequence[str]], layers: Layers) -> list[NDArray[np.float16]]:
        """One (words, width) array for each text."""
        ...


class _Pretrained:
    """A pre-trained encoder, in bfloat16 where the device computes that."""

    def __init__(self, name: str, folder: Path, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.width = int(AutoConfig.from_pretrained(folder, trust_remote_code=False).hidden_size)
        self._name = name
        self._device = encoders.best_device()

    @functools.cached_property
    def _loaded(self) -> tuple[PreTrainedModel, PieceReader]:
        model, tokenizer = encoders.load_encoder(self._name)
        reader = PieceReader(tokenizer, encoders.longest_input(model, tokenizer))
        if encoders.computes_bf16(self._device):
            model = model.bfloat16()
        return torch.nn.Module.to(model, self._device).eval().requires_grad_(False), reader

    def read(self, texts: Sequence[Sequence[str]], layers: Layers) -> list[NDArray[np.float16]]:
        read = self._loaded[1].read([[Word(word, 0, len(word)) for word in text] for text in texts])
        vectors: list[NDArray[np.float16]] = [np.zeros((len(text), self.width), np.float16) for text in texts]
        rows = [(i, passage) for i, of_text in enumerate(read) for passage in of_text]
        rows.sort(key=lambda row: len(row[1].pieces))
        for group in within_budget([len(p.pieces) for _, p in rows], BATCH_PIECES[self._device.type]):
            some = rows[group.start : group.stop]
            for (i, passage), part in zip(some, self._encode([p for _, p in some], layers), strict=True):
                vectors[i][passage.start : passage.start + len(part)] = part
        return vectors

    @torch.inference_mode()
    def _encode(self, passages: list[Passage], layers: Layers) -> Sequence[NDArray[np.float16]]:
        """The words' vectors, in whatever company they are read."""
        model, reader = self._loaded
        batch = reader.batch(passages).to(self._device)
        with contextlib.nullcontext() if batch.pieces_RP.is_cuda else Unpadded(batch.lengths):
            out = model(batch.pieces_RP, attention_mask=batch.mask_RP, output_hidden_states=layers == "mean")
        if layers == "last":
            vectors_NH = out.last_hidden_state.flatten(0, 1)[batch.firsts_N].float()
        else:
            states = torch.stack([state_RPH[batch.mask_RP > 0].float() for state_RPH in out.hidden_states[1:]])
            vectors_NH = _means(states.mean(dim=0), passages)
        found = vectors_NH.clamp_(-LARGEST, LARGEST).half().cpu().numpy()
        return np.split(found, np.cumsum([len(passage.firsts) for passage in passages])[:-1])


def _means(pieces_XH: Tensor, passages: Sequence[Passage]) -> Tensor:
    """(N, H) the mean of each word's pieces; `pieces_XH` are those of all passages in a row."""
    edges = [np.array([*passage.firsts, passage.stop]) for passage in passages]
    offsets = np.cumsum([0, *(len(passage) for passage in passages)])
    first_N = np.concatenate([e[:-1] + o for e, o in zip(edges, offsets, strict=False)])
    count_N = np.concatenate([np.diff(e) for e in edges])
    word_Y = np.repeat(np.arange(len(count_N)), count_N)
    piece_Y = np.arange(len(word_Y)) + np.repeat(first_N - np.cumsum(count_N) + count_N, count_N)
    sums_NH = pieces_XH.new_zeros(len(count_N), pieces_XH.shape[1])
    sums_NH.index_add_(0, torch.from_numpy(word_Y).to(sums_NH.device), pieces_XH[torch.from_numpy(piece_Y)])
    return sums_NH / torch.from_numpy(count_N).to(sums_NH)[:, None]


def _encoder(name: str) -> Encoder:
    if name.startswith(FLAIR):
        from taggers.flair_embeddings import language_models

        return language_models(name.removeprefix(FLAIR))
    folder = _folder(name)
    digest = hashlib.blake2b(digest_size=12)
    for file in _deciding(folder) or _downloaded(name, folder):
        stat = file.stat()
        digest.update(_hash(file, stat.st_size, stat.st_mtime_ns))
    return _pretrained(name, folder, digest.hexdigest())


@functools.lru_cache(maxsize=1)
def _pretrained(name: str, folder: Path, fingerprint: str) -> _Pretrained:
    return _Pretrained(name, folder, fingerprint)


def _folder(name: str) -> Path:
    """Where the encoder's files are, or will be once they are downloaded."""
    source = encoders.encoder_source(name)
    return Path(source) if Path(source).is_dir() else _hub_folder(name)


@functools.lru_cache(maxsize=8)
def _hub_folder(name: str) -> Path:
    try:
        return Path(cached_file(name, "config.json") or "").parent
    except encoders.OUT_OF_REACH as error:
        raise ValueError(
            f"encoder {name!r} is neither {encoders.PACKAGED!r}, nor a folder, nor within reach on the Hugging Face "
            f"Hub; check the name and the network ({error})"
        ) from error


def _deciding(folder: Path) -> list[Path]:
    """The files that decide what the encoder says; none unless all that is needed is there."""
    weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    words = [file for kind in ("tokenizer.json", "vocab.*", "*.model") for file in sorted(folder.glob(kind))]
    there = weights and words and (folder / "config.json").exists()
    return [*weights, words[0]] if there else []


def _downloaded(name: str, folder: Path) -> list[Path]:
    encoders.load_encoder(name)  # it says what is missing
    return _deciding(folder) or sorted(file for file in folder.iterdir() if file.is_file())


@functools.lru_cache(maxsize=64)
def _hash(file: Path, size: int, changed: int) -> bytes:
    """Of its content, read again only when it has changed."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").digest()


def _key(text: Sequence[str]) -> bytes:
    """A hash of the words; no word's UTF-8 has the byte that ends each."""
    words = [word.encode("utf-8", "surrogatepass") for word in text]
    return hashlib.blake2b(b"\xff".join([*words, b""]), digest_size=16).digest()
