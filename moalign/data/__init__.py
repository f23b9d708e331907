r"""Read preference data into one shape, whatever file it comes in: pairs with a label per objective, ratings with a score per objective, prompts.

Three record formats, over TRL's columns. Texts are strings (standard) or lists of `{"role", "content"}` messages (conversational), one style per source.

| format | fields |
|---|---|
| pairs | `prompt`, `completion_a`, `completion_b`, `labels: {objective: "a" \| "b" \| "tie" \| probability that a is better \| null}`, optional `user` |
| ratings | `prompt`, `completion`, `scores: {objective: number \| null}`, optional `user` |
| prompts | `prompt` |

A TRL preference row (`chosen`, `rejected`, with or without `prompt`) with an `objective` column is read as a pair whose first completion is the chosen one.
Files are `.jsonl`, `.json`, `.csv` (all three also `.gz`) or `.parquet`; prompts may be a `.txt`, one a line. In CSV, labels and scores are flat columns
(`labels.helpful`, `scores.helpful`) or one column of JSON text, an empty cell is null, and conversations are JSON text.

Example:
    >>> from datasets import Dataset
    >>> from moalign.data import read_records
    >>> rows = [{"prompt": "Hi", "completion_a": "Hello!", "completion_b": "What?", "labels": {"warm": "a", "brief": "tie"}}]
    >>> records = read_records(Dataset.from_list(rows))
    >>> records.kind, records.objectives, records.dataset[0]["labels"]
    ('pairs', ('warm', 'brief'), {'warm': 1.0, 'brief': 0.5})
    >>> records.matrix()
    array([[1. , 0.5]])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign.data.load import Records, read_pairs, read_prompts, read_ratings, read_records
    from moalign.data.writing import write_jsonl

__all__ = ["Records", "read_pairs", "read_prompts", "read_ratings", "read_records", "write_jsonl"]


def __getattr__(name: str) -> Any:
    if name == "write_jsonl":
        from moalign.data.writing import write_jsonl

        return write_jsonl
    if name in __all__:
        from moalign.data import load

        return getattr(load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
