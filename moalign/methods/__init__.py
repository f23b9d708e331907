"""One short file per published method: the paper, the formula, the combination."""
