import torch
from torch.testing import assert_close


def test_against_the_definition(merge, plain):
    torch.manual_seed(0)
    base = torch.zeros(10, 30)
    models = [torch.randn(10, 30) for _ in range(2)]
    settings = {"density": 0.6, "epsilon": 0.2, "seed": 5}
    alone = [merge("della_linear", models, base, weight=w, **settings) for w in ([1, 0], [0, 1])]
    for normalize in (False, True):
        got = merge("della", models, base, weight=[0.4, 0.7], normalize=normalize, **settings)
        assert_close(
            got.double(), plain(alone, [0.4, 0.7], base, elect=True, normalize=normalize), atol=1e-5, rtol=1e-5
        )


def test_divides_by_default(merge, models):
    tensors, base = models
    got = merge("della", tensors, base, weight=[0.2, 0.3, 0.9])
    assert_close(got, merge("ties", tensors, base, weight=[0.2, 0.3, 0.9]))
