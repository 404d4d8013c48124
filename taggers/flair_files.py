"""Language models of Flair's, read as data: its own reader would run whatever code such a file, a pickle, holds."""

from __future__ import annotations

import pickle  # nosec B403 # read by a reader that makes nothing but tensors and plain values
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import flair
import torch
from flair.models import LanguageModel

ALLOWED = frozenset(
    {
        ("_codecs", "encode"),
        ("collections", "OrderedDict"),
        ("flair.data", "Dictionary"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        *(("torch", f"{kind}Storage") for kind in ("Byte", "Int", "Long", "Half", "Float", "Double")),
    }
)
"""What such a file is made of."""


class _Unpickler(pickle.Unpickler):
    """Makes tensors and a dictionary of characters, and calls nothing else (torch's own strict reader does not know the
    protocol that Flair writes)."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it is no language model: it would run {module}.{name}")
        return super().find_class(module, name)


def _load(file: IO[bytes], **how: Any) -> Any:
    return _Unpickler(file, **how).load()


_STRICT = SimpleNamespace(__name__="strict", Unpickler=_Unpickler, load=_load)


def read_language_model(file: Path | str, has_decoder: bool = True) -> LanguageModel:
    """The model that `LanguageModel.save` wrote. Raises pickle.UnpicklingError for a file of anything else."""
    state = torch.load(file, map_location=flair.device, weights_only=False, pickle_module=_STRICT)  # nosec B614
    has_decoder = state.get("has_decoder", True) and has_decoder
    model = LanguageModel(
        **{name: state[name] for name in REQUIRED},
        document_delimiter=state.get("document_delimiter", "\n"),
        recurrent_type=state.get("recurrent_type", "lstm"),
        has_decoder=has_decoder,
    )
    model.load_state_dict(state["state_dict"], strict=has_decoder)
    model.eval()  # Flair's gives nothing back
    model.to(flair.device)
    return model


REQUIRED = ("dictionary", "is_forward_lm", "hidden_size", "nlayers", "embedding_size", "nout", "dropout")

# `FlairEmbeddings` finds and downloads files, and has no setting for how they are read.
LanguageModel.load_language_model = staticmethod(read_language_model)  # type: ignore[method-assign, assignment]
