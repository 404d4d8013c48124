"""A fine-tuned encoder with its linear layer as Hugging Face's own token classifier, if that says the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING

from taggers.forms import Form
from taggers.storage import LOADING
from taggers.transformer_network import FineTuned

CLOSE = 1e-3
"""Two computations of one logit differ by less."""

FORM = Form(
    "transformers",
    ("transformers", "tokenizers", "torch"),
    """\
An ordinary folder of the transformers library; nothing of this project is needed:

```python
from transformers import pipeline

tag = pipeline("token-classification", model=".", aggregation_strategy="first")
tag("A text to tag")
```

A word has the tag of its first piece; `aggregation_strategy="first"` reads them so. Texts longer than the encoder's
limit are cut by the pipeline unless it is given a `stride`.
""",
)


@torch.no_grad()
def token_classifier(network: FineTuned, tags: Sequence[str]) -> PreTrainedModel | None:
    """Encoder and linear layer in one model whose `config.id2label` are `tags`, on the CPU, in float32.

    None where none of transformers' classes says the same: a network with a CRF or with capitalisation that it has
    learned from, an encoder without a token classifier, or one whose classifier has layers between.
    """
    learned = network.capitalisation is not None and bool(network.capitalisation.weight.any())
    if network.crf is not None or learned or type(network.encoder.config) not in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        return None
    config = type(network.encoder.config).from_dict(network.encoder.config.to_dict())
    config.id2label = dict(enumerate(tags))
    config.label2id = {tag: number for number, tag in enumerate(tags)}
    with LOADING, torch.random.fork_rng(devices=[]):
        model = AutoModelForTokenClassification.from_config(config).float().eval()
    head = getattr(model, "classifier", None)
    if not isinstance(head, nn.Linear) or head.weight.shape != network.head.weight.shape or head.bias is None:
        return None
    head.load_state_dict(network.head.state_dict())
    encoder = getattr(model, model.base_model_prefix)
    if encoder.load_state_dict(network.encoder.state_dict(), strict=False).missing_keys:
        return None
    return model if _says_the_same(model, network) else None


def _says_the_same(model: PreTrainedModel, network: FineTuned) -> bool:
    """On pieces drawn at random, which are read as any others."""
    device = network.head.weight.device
    draw = torch.Generator().manual_seed(0)
    pieces_RP = torch.randint(5, model.config.vocab_size, (2, 12), generator=draw)
    vectors_RPE = network.encoder.get_input_embeddings()(pieces_RP.to(device))
    mask_RP = torch.ones_like(pieces_RP)
    states_RPH = network.encoder(inputs_embeds=vectors_RPE, attention_mask=mask_RP.to(device)).last_hidden_state
    ours_RPC = network.head(states_RPH).cpu()
    theirs_RPC = model(input_ids=pieces_RP, attention_mask=mask_RP).logits
    return torch.allclose(ours_RPC, theirs_RPC, atol=CLOSE, rtol=CLOSE)
