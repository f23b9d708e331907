"""How long a completion is: words, characters, sentences, words a sentence.

The counts grow with the length. For shorter texts use [`brevity`] or `minus(rule)`, for a wanted length `Band(word_count, 50, 100)`.
"""

from reward_heads.rules.text import sentences, words


def brevity(prompt: str, completion: str) -> float:
    """Minus the number of words: 0 for an empty completion, shorter is better."""
    return -float(len(words(completion)))


def word_count(prompt: str, completion: str) -> float:
    """The number of words."""
    return float(len(words(completion)))


def character_count(prompt: str, completion: str) -> float:
    """The number of characters (Unicode code points) without outer white space."""
    return float(len(completion.strip()))


def sentence_count(prompt: str, completion: str) -> float:
    """The number of sentences that hold a word."""
    return float(len(sentences(completion)))


def sentence_length(prompt: str, completion: str) -> float | None:
    """Mean number of words per sentence, so longer sentences are better (`minus` for the opposite); `None` without a sentence."""
    lengths = [len(words(sentence)) for sentence in sentences(completion)]
    return sum(lengths) / len(lengths) if lengths else None
