"""Indicator values that other people published or computed, for small fronts of costs and of rewards."""

import json
from pathlib import Path

import numpy as np
import pytest

from frontier.measure import epsilon_additive, epsilon_multiplicative, hypervolume_contributions, igd_plus, r2_exact

PUBLISHED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "pareto_reference" / "reference.json"
CASES = json.loads(PUBLISHED.read_text())["other_indicators"] if PUBLISHED.exists() else []
OURS = {
    "igd_plus": igd_plus,
    "epsilon_additive": epsilon_additive,
    "epsilon_mult": epsilon_multiplicative,
    "r2_exact": r2_exact,
    "hv_contributions": hypervolume_contributions,
}


def ours(case):
    """Whether the case is one of ours: ratios of costs are no ratios of rewards, and left-out points bring to light what they dominated."""
    if case["indicator"] == "epsilon_mult":
        return case.get("maximise", False)
    return case["indicator"] in OURS and not case.get("ignore_dominated", False)


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"the published values are not there: {PUBLISHED}")
@pytest.mark.parametrize("case", [c for c in CASES if ours(c)] or [None], ids=lambda c: c and c["indicator"])
def test_published_values(case):
    sign = 1.0 if case.get("maximise", False) else -1.0
    points, reference = sign * np.array(case["A"], dtype=float), sign * np.array(case["ref"], dtype=float)
    found = OURS[case["indicator"]](points, reference)
    np.testing.assert_allclose(found, case["expected"], rtol=1e-12)
