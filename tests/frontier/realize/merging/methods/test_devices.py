import pytest
import torch
from torch.testing import assert_close

from frontier.realize.merging.methods import METHODS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SETTINGS = {
    "slerp": {"t": 0.3},
    "karcher": {},
    "model_stock": {},
    "layerwise": {"ratios": [0.4]},
    "salsa": {},
    "balanced_actor": {},
    "bone_soup": {"preference": [0.3, 0.7]},
    "sce": {"select_topk": 0.5},
    "ram": {},
    "ramplus_tl": {},
    "nearswap": {"t": 0.05},
    "arcee_fusion": {},
    "passthrough": {},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_gives_what_a_cpu_gives(merge, models, name):
    """Random methods have another stream there, so only how much they keep is compared."""
    tensors, base = models[0][:2][: METHODS[name].most_models], models[1] if METHODS[name].needs_base else None
    settings = SETTINGS.get(name, {"weight": [0.25, 0.75]})
    if "density" in {s.name for s in METHODS[name].Parameters.settings()}:
        settings = settings | {"density": 0.5}
    expected = merge(name, tensors, base, **settings)
    got = merge(name, [t.cuda() for t in tensors], None if base is None else base.cuda(), **settings)
    assert got.is_cuda
    if METHODS[name].random:
        moved = [(m - base).count_nonzero().item() / base.numel() for m in (expected, got.cpu())]
        assert moved[0] == pytest.approx(moved[1], abs=0.1)
    else:
        assert_close(got.cpu(), expected)
