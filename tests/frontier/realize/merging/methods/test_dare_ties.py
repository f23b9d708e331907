import torch
from torch.testing import assert_close


def test_against_the_definition(merge, plain):
    """The masks are those of `dare_linear` under the same seed; what follows is mergekit's rule."""
    torch.manual_seed(0)
    base = torch.zeros(300)
    models = [torch.randn(300) for _ in range(2)]
    settings = {"density": 0.6, "seed": 5}
    # With one weight 0 the other model's thinned delta is left.
    alone = [merge("dare_linear", models, base, weight=w, **settings) for w in ([1, 0], [0, 1])]
    for normalize in (False, True):
        got = merge("dare_ties", models, base, weight=[0.4, 0.7], normalize=normalize, **settings)
        assert_close(
            got.double(), plain(alone, [0.4, 0.7], base, elect=True, normalize=normalize), atol=1e-5, rtol=1e-5
        )


def test_limits(merge, models):
    tensors, base = models
    assert torch.equal(merge("dare_ties", tensors, base, weight=1, density=0), base)
    got = merge("dare_ties", tensors, base, weight=[0.2, 0.3, 0.5])
    assert_close(got, merge("ties", tensors, base, weight=[0.2, 0.3, 0.5], normalize=False))
