"""Say which rows of the training data a batch was made of, for a person who has to look at them."""

from typing import Any

from moalign.training.pairs import PairTable
from moalign.training.rollouts.rounds import RoundData


def batch_rows(dataset: Any, inputs: Any) -> tuple[int, ...]:
    """The numbers of a batch's rows, from 0, in order and without repetition: of pairs in their table, of kept rows in their round, of prompts in their data set.

    They are looked up by content, so that no batch has to carry them; rows that are alike have the first one's number. Empty where that cannot be told.

    Args:
        dataset (`PairTable`, `RoundData` or `datasets.Dataset`): what the batch was drawn from.
        inputs (`dict` or `list[dict]`): the batch as the learner's `training_step` gets it.
    """
    if isinstance(dataset, PairTable) and "ids" in inputs:
        wanted, known = list(inputs["ids"]), dataset.ids
    elif isinstance(dataset, RoundData) and "input_ids" in inputs:
        kept = len(inputs["input_ids"]) - len(inputs.get("better", ()))
        both = zip(inputs["input_ids"][:kept], inputs["attention_mask"][:kept], strict=True)
        wanted = [ids[mask.bool()].tolist() for ids, mask in both]
        known = [item["prompt_ids"] + item["row"].ids for item in dataset.items]
    elif isinstance(inputs, list) and "prompt" in (getattr(dataset, "column_names", None) or ()):
        wanted, known = [row["prompt"] for row in inputs], list(dataset["prompt"])
    else:
        return ()
    return tuple(dict.fromkeys(known.index(row) for row in wanted if row in known))


def rows_name(dataset: Any) -> str:
    """What the numbers of `batch_rows` count."""
    if isinstance(dataset, PairTable):
        return "pairs of the training data"
    return "rows of the round" if isinstance(dataset, RoundData) else "prompts of the training data"
