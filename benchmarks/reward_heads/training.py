"""One training of the accuracy benchmark, in a process of its own: fine-tune the encoder with heads, score the held-out texts."""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks.reward_heads.encoder import data_loaders
from benchmarks.reward_heads.sets import RealSet, Row, Split, load_set, texts_of

POOLED = "pooled"
MAX_LENGTH = 160
# The last layers of a sentence encoder know what a text is about and have forgotten how it is written, which is what people rate: with all six, the
# replies of topical_chat are ranked 0.58 right after two epochs, with the first three 0.75, at half the cost.
LAYERS = 3
EPOCHS = 2
# Six of seven rows of qa_feedback compare two of a question's four answers: in one batch, each answer is read once.
RANKED = ("qa_feedback",)


def split_of(data: str, name: str, fold: int, quick: bool) -> tuple[RealSet, Split]:
    """One fold of a set; `quick`: an eighth of its documents."""
    real = load_set(data_loaders(Path(data)), name)
    if quick:
        documents = sorted({row["document"] for row in real.rows})
        kept = set(documents[:: max(1, len(documents) // 16)])
        rows = [row for row in real.rows if row["document"] in kept]
        real = RealSet(real.name, real.objectives, rows, real.across, 1, real.shares)
    return real, list(real.splits())[fold]


def fine_tune(
    data: str,
    encoder: str,
    name: str,
    fold: int,
    objectives: Sequence[str],
    seed: int = 0,
    quick: bool = False,
    dropped: str | None = None,
    kept: float = 1.0,
) -> dict[str, Any]:
    """Train one model on the encoder's first `LAYERS` layers and score the texts of calibration and test.

    Args:
        data (`str`): folder of the real data.
        encoder (`str`): folder of the encoder.
        name (`str`): of the set.
        fold (`int`): which split.
        objectives (`Sequence[str]`): the heads; `("pooled",)` trains one head on all labels as if they meant the same.
        seed (`int`): of heads, order and dropped labels.
        quick (`bool`): few documents, one epoch.
        dropped (`str`, *optional*): the objective of which only the share `kept` of the labels stays.
        kept (`float`): that share.

    Returns:
        `seconds` of CPU time of training (one thread, so that other work on the machine does not count), and `calibration` and `test`: `[N][K]` scores in the order of `texts_of`.
    """
    import torch

    from reward_heads import RewardHeadsConfig, RewardHeadsTrainer, TransformerReward
    from reward_heads.loading import load_tokenizer

    _, split = split_of(data, name, fold, quick)
    rows = pooled(split.train) if tuple(objectives) == (POOLED,) else _labelled(split.train, objectives)
    if dropped is not None and dropped in objectives:
        rows = _labelled(without_labels(rows, dropped, kept, seed), objectives)
    torch.manual_seed(seed)
    reward = TransformerReward.from_base(
        encoder, objectives, tokenizer=load_tokenizer(encoder), seed=seed, max_length=MAX_LENGTH
    )
    keep_layers(reward.model, LAYERS)
    with tempfile.TemporaryDirectory() as folder:
        config = RewardHeadsConfig(
            output_dir=folder,
            num_train_epochs=1 if quick else EPOCHS,
            per_device_train_batch_size=16,
            learning_rate=1e-4,
            warmup_steps=20,
            lr_scheduler_type="cosine",
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            pooling="mean",
            train_sampling_strategy="group_by_prompt" if name in RANKED else "group_by_length",
            seed=seed,
        )
        trainer = RewardHeadsTrainer(reward, config, rows)
        started = process_time()
        trainer.train()
        seconds = process_time() - started
    held_out = {part: texts_of(getattr(split, part)) for part in ("calibration", "test")}
    scores = {part: reward.score(*zip(*texts, strict=True)).tolist() for part, texts in held_out.items()}
    return {"seconds": seconds, "rows": len(rows), **scores}


def keep_layers(model: Any, count: int) -> None:
    """Cut a BERT with heads down to its first layers."""
    model.base_model.encoder.layer = model.base_model.encoder.layer[:count]
    model.config.num_hidden_layers = count


def pooled(rows: Sequence[Row]) -> list[Row]:
    """The same rows with one label each: the mean of the standardised ratings, or of the pair labels."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.get("scores", {}).items():
            values.setdefault(name, []).append(value)
    location = {name: statistics.fmean(found) for name, found in values.items()}
    scale = {name: statistics.pstdev(found) or 1.0 for name, found in values.items()}
    found = []
    for row in rows:
        row = dict(row)
        if "scores" in row:
            row["scores"] = {POOLED: statistics.fmean((v - location[k]) / scale[k] for k, v in row["scores"].items())}
        else:
            row["labels"] = {POOLED: statistics.fmean(row["labels"].values())}
        found.append(row)
    return found


def without_labels(rows: Sequence[Row], objective: str, kept: float, seed: int) -> list[Row]:
    """The rows with only a share of the labels of one objective, chosen at random."""
    import random

    field = ["scores" if objective in row.get("scores", {}) else "labels" for row in rows]
    labelled = [i for i, row in enumerate(rows) if row.get(field[i], {}).get(objective) is not None]
    stay = set(random.Random(seed).sample(labelled, round(kept * len(labelled))))
    return [
        row if i in stay or i not in set(labelled) else {**row, field[i]: {**row[field[i]], objective: None}}
        for i, row in enumerate(rows)
    ]


def _labelled(rows: Sequence[Row], objectives: Sequence[str]) -> list[Row]:
    """Rows with at least one label among the objectives, and those labels only."""
    found = []
    for row in rows:
        field = "scores" if "scores" in row else "labels"
        labels = {k: v for k, v in row[field].items() if k in objectives and v is not None}
        if labels:
            found.append({**row, field: labels})
    return found
