"""The real sets with at least two objectives as moalign's rows, split by document into training, calibration and test."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import ModuleType
from typing import Any

Row = dict[str, Any]
SETS = ("summeval", "newsroom", "sfres", "sfhot", "bagel", "topical_chat", "hh_dual", "qa_feedback")
# A sentence encoder reads a few hundred tokens: the beginning of a news article says most of it, the end of a dialogue.
LEAD_WORDS, DIALOGUE_WORDS = 40, 40
# How many partners of other documents a text is compared with where documents hold one rated text each.
PARTNERS = 6


@dataclass(frozen=True)
class Comparisons:
    """N test comparisons of one objective, as positions in a list of texts.

    Args:
        a (`list[int]`), b (`list[int]`): positions of the two texts.
        label (`list[float]`): 1 where a is better, else 0; ties are left out.
        document (`list[str]`), other (`list[str]`): where the two texts were taken from, the units of the bootstrap; the same within a document.
    """

    a: list[int]
    b: list[int]
    label: list[float]
    document: list[str]
    other: list[str]


@dataclass(frozen=True)
class Split:
    """Rows of one fold; each row has a `document`."""

    train: list[Row]
    calibration: list[Row]
    test: list[Row]


@dataclass(frozen=True)
class RealSet:
    """A real set.

    Args:
        name (`str`): of the set, in row ids.
        objectives (`tuple[str, ...]`): K names.
        rows (`list[Row]`): pairs and ratings with a `document`.
        across (`tuple[str, ...]`): objectives whose ratings are compared between documents, because a document has one rated text.
        folds (`int`): how many splits are measured; small sets need more than one.
    """

    name: str
    objectives: tuple[str, ...]
    rows: list[Row]
    across: tuple[str, ...] = ()
    folds: int = 1
    shares: tuple[float, float] = field(default=(0.15, 0.25))

    def splits(self, seed: int = 0) -> Iterator[Split]:
        """Folds with disjoint test documents: 60 % of the documents train, 15 % calibrate, 25 % test."""
        documents = sorted({row["document"] for row in self.rows})
        random.Random(seed).shuffle(documents)
        n = len(documents)
        calibration, test = (max(1, round(share * n)) for share in self.shares)
        for fold in range(self.folds):
            turned = documents[fold * test :] + documents[: fold * test]
            parts = (set(turned[test + calibration :]), set(turned[test : test + calibration]), set(turned[:test]))
            yield Split(*([row for row in self.rows if row["document"] in part] for part in parts))


def load_set(loaders: ModuleType, name: str) -> RealSet:
    """One of `SETS`."""
    return _READERS[name](loaders)


def texts_of(rows: Sequence[Row]) -> list[tuple[Any, Any]]:
    """The distinct (prompt, completion) texts of rows, in order of appearance."""
    found: dict[tuple[Any, Any], None] = {}
    for row in rows:
        for name in ("completion", "completion_a", "completion_b"):
            if name in row:
                found[(row["prompt"], row[name])] = None
    return list(found)


def comparisons(real: RealSet, rows: Sequence[Row], objective: str, seed: int = 0) -> Comparisons:
    """All comparisons of one objective that held-out rows allow, each in a random order.

    Pairs as labelled; ratings within a document, or, for objectives in `real.across`, with `PARTNERS` texts of other documents.
    """
    at = {text: index for index, text in enumerate(texts_of(rows))}
    rng = random.Random(seed)
    found: list[tuple[int, int, float, str, str]] = []
    rated = [row for row in rows if row.get("scores", {}).get(objective) is not None]
    for row in rows:
        label = row.get("labels", {}).get(objective)
        if label is not None and label != 0.5:
            pair = (at[row["prompt"], row["completion_a"]], at[row["prompt"], row["completion_b"]])
            found.append((*pair, label, row["document"], row["document"]))
    for first, second in _rated_pairs(rated, objective in real.across, rng):
        difference = first["scores"][objective] - second["scores"][objective]
        if difference:
            pair = (at[first["prompt"], first["completion"]], at[second["prompt"], second["completion"]])
            found.append((*pair, float(difference > 0), first["document"], second["document"]))
    turned = [(b, a, 1 - p, e, d) if rng.random() < 0.5 else (a, b, p, d, e) for a, b, p, d, e in found]
    return Comparisons(*([row[k] for row in turned] for k in range(5)))  # type: ignore[arg-type]


def _rated_pairs(rated: Sequence[Row], across: bool, rng: random.Random) -> Iterator[tuple[Row, Row]]:
    if across:
        for row in rated:
            for other in rng.sample(list(rated), min(PARTNERS, len(rated))):
                if other["document"] != row["document"]:
                    yield row, other
        return
    by_document: dict[str, list[Row]] = {}
    for row in rated:
        by_document.setdefault(row["document"], []).append(row)
    for group in by_document.values():
        yield from combinations(group, 2)


def _rating(document: str, prompt: str, completion: str, scores: dict[str, float]) -> Row:
    return {"document": document, "prompt": prompt, "completion": completion, "scores": scores}


def _news(name: str, reader: str, folds: int) -> Callable[[ModuleType], RealSet]:
    def read(loaders: ModuleType) -> RealSet:
        found = getattr(loaders, reader)()
        rows = [_rating(r["doc_id"], _first(r["src"], LEAD_WORDS) + " ", r["text"], r["scores"]) for r in found]
        return RealSet(name, tuple(found[0]["scores"]), rows, folds=folds)

    return read


def _data2text(name: str, folds: int) -> Callable[[ModuleType], RealSet]:
    def read(loaders: ModuleType) -> RealSet:
        found = loaders.data2text(name.upper())
        names = _connected([(r["src"], r["text"]) for r in found])
        rows = [_rating(d, r["src"] + " ", r["text"], r["scores"]) for d, r in zip(names, found, strict=True)]
        objectives = tuple(found[0]["scores"])
        # Two texts of one input are too few comparisons; how natural a sentence is compares between inputs too.
        return RealSet(name, objectives, rows, across=objectives, folds=folds)

    return read


def _connected(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """One name for inputs that share an output, through any number of steps: "X is a restaurant ." answers many inputs and must not be in train and test."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for source, text in pairs:
        parent[root(("text", text))] = root(("source", source))
    return [root(("source", source))[1] for source, _ in pairs]


def _topical_chat(loaders: ModuleType) -> RealSet:
    found = loaders.topical_chat()
    rows = [
        _rating(r["source"], _last(r["source"], DIALOGUE_WORDS) + " ", r["system_output"], r["scores"]) for r in found
    ]
    return RealSet("topical_chat", tuple(found[0]["scores"]), rows, folds=2)


def _hh_dual(loaders: ModuleType) -> RealSet:
    names = ("helpful", "harmless")
    rows = [
        {
            "document": r["prompt"],
            "prompt": _last(r["prompt"], DIALOGUE_WORDS) + " ",
            "completion_a": _first(r["responses"][0], 60),
            "completion_b": _first(r["responses"][1], 60),
            "labels": {name: float(r[name] == 0) for name in names},
        }
        for r in loaders.hh_dual()
    ]
    return RealSet("hh_dual", names, [row for row in rows if row["completion_a"] != row["completion_b"]])


def _qa_feedback(loaders: ModuleType) -> RealSet:
    """Overall preference between four answers; errors are marked in the first answer only, so the other three have no ratings."""
    kinds = {"relevance": ("Irrelevant", "Redundant", "Incoherent"), "factuality": ("Wrong-Grounding", "Unverifiable")}
    rows: list[Row] = []
    for r in loaders.qa_feedback():
        answers = [r[f"prediction {i}"] for i in range(1, 5)]
        errors = [error["error type"] for error in r["feedback"]["errors"]]
        scores = {name: -float(sum(error in kind for error in errors)) for name, kind in kinds.items()}
        scores["completeness"] = -float(len(r["feedback"]["missing-info"]))
        prompt = r["question"] + " "
        rows.append(_rating(r["question"], prompt, answers[0], scores))
        for (i, j), label in zip(combinations(range(4), 2), r["preference"], strict=True):
            if answers[i] != answers[j]:
                pair = {"completion_a": answers[i], "completion_b": answers[j]}
                rows.append(
                    {
                        "document": r["question"],
                        "prompt": prompt,
                        **pair,
                        "labels": {"overall": {0: 0.5, 1: 1.0, 2: 0.0}[label]},
                    }
                )
    return RealSet("qa_feedback", ("overall", *kinds, "completeness"), rows, across=(*kinds, "completeness"))


def _first(text: str, words: int) -> str:
    return " ".join(text.split()[:words])


def _last(text: str, words: int) -> str:
    return " ".join(text.split()[-words:])


_READERS: dict[str, Callable[[ModuleType], RealSet]] = {
    "summeval": _news("summeval", "summeval", 1),
    "newsroom": _news("newsroom", "newsroom", 2),
    "sfres": _data2text("sfres", 1),
    "sfhot": _data2text("sfhot", 1),
    "bagel": _data2text("bagel", 2),
    "topical_chat": _topical_chat,
    "hh_dual": _hh_dual,
    "qa_feedback": _qa_feedback,
}
