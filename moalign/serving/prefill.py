"""Choose which prompts are worked on next, and how far, so that neither a long prompt nor a stream of short ones holds up the others."""

from collections.abc import Sequence


def choose_chunk(remaining: Sequence[int], budget: int, oldest_first: bool) -> list[tuple[int, int]]:
    """Prompts to process together and how many tokens of each, padding included at most `budget` tokens (but always one prompt).

    Around one prompt (the oldest, or the shortest) those are gathered that are about as long: at least half of what is computed is not padding.
    Called with `oldest_first` alternating, a long prompt advances at every second chunk however many short ones arrive, and short ones get in
    between its chunks.

    Args:
        remaining (`Sequence[int]`): tokens that each prompt still needs, at least 1, in order of arrival.
        budget (`int`): tokens.
        oldest_first (`bool`): gather around the oldest instead of the shortest.

    Returns:
        `list[tuple[int, int]]`: positions in `remaining`, the leading one first, with their numbers of tokens.
    """
    ascending = sorted(range(len(remaining)), key=remaining.__getitem__)
    leader = 0 if oldest_first else ascending[0]
    width = min(remaining[leader], budget)
    chosen = [leader]
    for i in ascending:
        if i == leader:
            continue
        # Beside the oldest, a longer one joins for as much as the oldest takes; beside the shortest, one up to twice as long is finished with it.
        wide = width if oldest_first else max(width, min(remaining[i], 2 * min(remaining[leader], budget)))
        if 2 * min(remaining[i], wide) >= wide and (len(chosen) + 1) * wide <= budget:
            chosen.append(i)
            width = wide
    return [(i, min(remaining[i], width)) for i in chosen]
