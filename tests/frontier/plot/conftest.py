import itertools

import numpy as np
import pytest

from frontier import FrontPoint, ParetoFront

NAMES = ("helpful", "brief", "warm & kind", "safe", "polite")


def lattice(k, parts):
    return [w for w in itertools.product(range(parts + 1), repeat=k) if sum(w) == parts]


@pytest.fixture
def make_front():
    """`make_front(k, parts=4, best=1.0)`: steered points on a concave front and one dominated point without weights or standard errors."""

    def make(k, parts=4, best=1.0):
        points = []
        for w in np.array(lattice(k, parts)) / parts:
            asked = {"weights": dict(zip(NAMES, w.tolist(), strict=False))}
            said = f"</script><b>asked {w[0]:.2f}</b> & more"
            points.append(FrontPoint(best * np.sqrt(w + 0.01), [0.02] * k, 32, asked, kl=1.0, extra={"sample": said}))
        points.append(FrontPoint([-0.5] * k, [np.nan] * k, 32))
        return ParetoFront(NAMES[:k], tuple(points), FrontPoint([0.0] * k, [0.01] * k, 32, kl=0.0))

    return make
