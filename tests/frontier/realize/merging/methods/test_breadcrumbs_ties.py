import torch
from torch.testing import assert_close


def test_against_the_definition(merge, plain):
    torch.manual_seed(0)
    base = torch.zeros(300)
    models = [torch.randn(300) for _ in range(3)]
    thinned = [merge("breadcrumbs", [m], base, weight=1, density=0.5, gamma=0.1) for m in models]
    for normalize in (False, True):
        got = merge(
            "breadcrumbs_ties", models, base, weight=[0.2, 0.3, 0.9], density=0.5, gamma=0.1, normalize=normalize
        )
        assert_close(
            got.double(), plain(thinned, [0.2, 0.3, 0.9], base, elect=True, normalize=normalize), atol=1e-5, rtol=1e-5
        )
