"""Ready rewards that need no model: length, readability, sentiment, vocabulary, banned words, format, repetition, exact match.

A rule is any function `(prompt, completion) -> float | None` or callable object: there is nothing to register. Each is maximised and fits [`FunctionReward`]:

    >>> from reward_heads import FunctionReward, rules
    >>> def polite(prompt: str, completion: str) -> float:
    ...     return float("please" in completion.lower())
    >>> reward = FunctionReward({"polite": polite, "size": rules.Band(rules.word_count, 5, 20), "easy": rules.flesch_reading_ease})
    >>> reward.score(["Ask me."], ["Please sit on the mat."])
    tensor([[  1.0000,   0.0000, 117.1600]])

A word is a run of letters or digits, with inner apostrophes and hyphens ("don't", "well-known"); words are compared in lower case. `None` = the quantity
does not exist for this text (the mean length of no sentence); `Otherwise(rule, value)` gives it a value.
"""

from reward_heads.rules.banned import BannedWords
from reward_heads.rules.compose import Band, Clipped, Otherwise, Scaled, WeightedSum, minus
from reward_heads.rules.exact_match import ExactMatch, NumericMatch, answers_from_rows, normalised, numbers
from reward_heads.rules.format import (
    CodeFence,
    FormatMatch,
    Tags,
    ValidJSON,
    asks_question,
    ends_with_punctuation,
    list_items,
)
from reward_heads.rules.keywords import KeywordCoverage
from reward_heads.rules.language import SCRIPTS, ScriptShare, ascii_share
from reward_heads.rules.length import brevity, character_count, sentence_count, sentence_length, word_count
from reward_heads.rules.readability import (
    automated_readability_grade,
    coleman_liau_grade,
    flesch_kincaid_grade,
    flesch_reading_ease,
)
from reward_heads.rules.repetition import DistinctNgrams, compression_ratio, longest_repeat
from reward_heads.rules.sentiment import Sentiment
from reward_heads.rules.syllables import syllables
from reward_heads.rules.text import Rule, sentences, words
from reward_heads.rules.vocabulary import VocabularyRichness

__all__ = [
    "SCRIPTS",
    "Band",
    "BannedWords",
    "Clipped",
    "CodeFence",
    "DistinctNgrams",
    "ExactMatch",
    "FormatMatch",
    "KeywordCoverage",
    "NumericMatch",
    "Otherwise",
    "Rule",
    "Scaled",
    "ScriptShare",
    "Sentiment",
    "Tags",
    "ValidJSON",
    "VocabularyRichness",
    "WeightedSum",
    "answers_from_rows",
    "ascii_share",
    "asks_question",
    "automated_readability_grade",
    "brevity",
    "character_count",
    "coleman_liau_grade",
    "compression_ratio",
    "ends_with_punctuation",
    "flesch_kincaid_grade",
    "flesch_reading_ease",
    "list_items",
    "longest_repeat",
    "minus",
    "normalised",
    "numbers",
    "sentence_count",
    "sentence_length",
    "sentences",
    "syllables",
    "word_count",
    "words",
]
