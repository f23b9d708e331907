"""Refuse to average embeddings whose rows mean different tokens, and copy the tokenizer of the model that was asked for."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from frontier.errors import InputError
from frontier.realize.merging.checkpoint import read_json

UNION = "union"
# What transformers may need beside tokenizer.json.
FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
    *("spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja"),
    *("chat_template.json", "preprocessor_config.json", "processor_config.json"),
)
# Where token ids stand in models without a tokenizer.json, of which files as a whole are compared.
OLD_VOCABULARIES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")


def check_tokenizers(folders: Mapping[str, Path], source: str | None) -> None:
    """Refuse models, any two of them, that give one token two ids or one id two tokens. Tokens that only some models know may stand behind the others'; folders
    without a tokenizer are taken on trust.

    Args:
        folders (`Mapping[str, Path]`): of each model by name.
        source (`str`, *optional*): `union` is only the same as any of them where all tokens are equal.

    Raises:
        InputError: names the two models, the token and the id.
    """
    known = {name: found for name, folder in folders.items() if (found := _token_ids(folder)) is not None}
    for first, other in combinations(known, 2):
        _check_equal(first, known[first], other, known[other], source == UNION)


def _check_equal(
    first: str, ids: Mapping[str, Any], other: str, other_ids: Mapping[str, Any], all_of_them: bool
) -> None:
    for token, number in ids.items():
        if token in other_ids and other_ids[token] != number:
            raise InputError(
                f"the tokenizers of {first} and {other} differ: token {token!r} is {number} in one and {other_ids[token]} in the other, so that "
                "rows of their embeddings cannot be averaged"
            )
    tokens, other_tokens = _by_id(ids), _by_id(other_ids)
    for number in tokens.keys() & other_tokens.keys():
        if tokens[number].isdisjoint(other_tokens[number]):
            token, other_token = min(tokens[number]), min(other_tokens[number])
            raise InputError(
                f"the tokenizers of {first} and {other} differ: id {number} is {token!r} in one and {other_token!r} in the other, so that rows of their "
                "embeddings cannot be averaged"
            )
    if all_of_them and ids.keys() != other_ids.keys():
        token = min(ids.keys() ^ other_ids.keys())
        raise InputError(
            f"tokenizer_source: union is not supported for tokenizers that differ: token {token!r} is only in one of {first} and {other}"
        )


def _by_id(ids: Mapping[str, Any]) -> dict[Any, set[str]]:
    """All tokens of each id: an added token may stand on one of the vocabulary."""
    made: dict[Any, set[str]] = defaultdict(set)
    for token, number in ids.items():
        made[number].add(token)
    return made


def _token_ids(folder: Path) -> dict[str, Any] | None:
    """Token to id; or one entry with a digest for a kind of file that is not read."""
    if (folder / "tokenizer.json").is_file():
        document = read_json(folder / "tokenizer.json")
        vocabulary = (document.get("model") or {}).get("vocab") or {}
        if isinstance(vocabulary, list):  # Unigram: pairs of token and score, in the ids' order
            vocabulary = {token: i for i, (token, *_) in enumerate(vocabulary)}
        added = {entry["content"]: entry["id"] for entry in document.get("added_tokens") or []}
        return {**vocabulary, **added}
    for name in OLD_VOCABULARIES:
        if (folder / name).is_file():
            return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]}
    return None


def copy_tokenizer(folder: Path, out: Path) -> list[str]:
    """Copy the files of a tokenizer that exist; returns their names."""
    copied = [name for name in FILES if (folder / name).is_file()]
    for name in copied:
        shutil.copyfile(folder / name, out / name)
    return copied
