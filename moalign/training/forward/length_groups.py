"""Split a batch by length into a few forwards, so that little of what is computed is padding."""

from collections.abc import Callable, Sequence


def length_groups(
    lengths: Sequence[int], cost: Callable[[int], float], overhead: float, exactly: int | None = None
) -> list[list[int]]:
    """The rows of each forward, so that the sum over forwards of (rows x cost of the longest) + overhead is smallest.

    Rows of similar length go together: over the rows in order of length, the best split of the first i is found from those of fewer (dynamic programming).

    Args:
        lengths (`Sequence[int]`): tokens of each row.
        cost (`Callable`): of one row of so many tokens.
        overhead (`float`): of one more forward, in the same unit.
        exactly (`int`, *optional*): how many forwards there must be, whatever they cost; processes that work together need the same number.

    Returns:
        `list[list[int]]`: numbers of rows, ascending within each forward; the forward with the longest rows comes first, so that memory runs out at once or never.

    Example:
        >>> length_groups([9, 2, 8, 2], cost=float, overhead=3.0)
        [[0, 2], [1, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    most = len(order) if exactly is None else min(exactly, len(order))
    each = [cost(lengths[row]) for row in order]
    # best[i] for the groups made so far: cost of the first i rows, and where the last of their groups begins.
    best: list[list[tuple[float, int]]] = [[(0.0, 0)] + [(float("inf"), 0)] * len(order)]
    if exactly is None:
        return _any_number(order, each, overhead)
    for count in range(most):
        row = [(float("inf"), 0)]
        for end in range(1, len(order) + 1):
            row.append(min((best[count][start][0] + (end - start) * each[end - 1], start) for start in range(end)))
        best.append(row)
    groups, end = [], len(order)
    for count in range(most, 0, -1):
        start = best[count][end][1]
        groups.append(sorted(order[start:end]))
        end = start
    return groups


def _any_number(order: list[int], each: list[float], overhead: float) -> list[list[int]]:
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(order) + 1):
        best.append(min((best[start][0] + (end - start) * each[end - 1] + overhead, start) for start in range(end)))
    groups, end = [], len(order)
    while end:
        start = best[end][1]
        groups.append(sorted(order[start:end]))
        end = start
    return groups
