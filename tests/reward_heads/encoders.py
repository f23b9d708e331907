"""Tiny random encoders, made in memory."""

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from reward_heads.model import TransformerReward

KINDS = ("bert", "roberta", "distilbert")


def make_encoder(kind, tokenizer, objectives=("kind", "brief"), **settings):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    common = {
        "vocab_size": 64,
        "pad_token_id": 0,
        "id2label": dict(enumerate(objectives)),
        "max_position_embeddings": 48,
    }
    torch.manual_seed(0)
    if kind == "bert":
        model = BertForSequenceClassification(BertConfig(**size, **common, initializer_range=0.3))
    elif kind == "roberta":
        model = RobertaForSequenceClassification(RobertaConfig(**size, **common, initializer_range=0.3))
    else:
        config = DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, **common, initializer_range=0.3)
        model = DistilBertForSequenceClassification(config)
    return TransformerReward(model.eval(), tokenizer, max_length=32, **settings)
