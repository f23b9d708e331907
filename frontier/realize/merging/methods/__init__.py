"""Merge one tensor of several models into one: every method by its name, each a pure function in a file of its own.

    >>> import torch
    >>> from frontier.realize.merging.methods import method
    >>> ties = method("ties")
    >>> settings = ties.Parameters.of(2, {"weight": [0.6, 0.4], "density": 0.5})
    >>> helpful, brief, base = torch.tensor([1.0, -0.2]), torch.tensor([-3.0, 0.1]), torch.zeros(2)
    >>> ties([helpful, brief], base, settings)  # 0.6 * 1 loses against 0.4 * -3
    tensor([-3.,  0.])

`METHODS` has mergekit's names where mergekit has the method, with its defaults; `rewarded_soups`, `factor_average`, `layerwise`, `salsa`, `balanced_actor`,
`bone_soup` and `ties_peft` are ours. A method says what it needs: `needs_base`, `takes_base`, `elementwise`, `random`, `least_models`, `Parameters.settings()`.
"""

from frontier.errors import unknown_name
from frontier.realize.merging.methods.arcee_fusion import ArceeFusion
from frontier.realize.merging.methods.balanced_actor import BalancedActor
from frontier.realize.merging.methods.base import MergeMethod, Parameters, Setting
from frontier.realize.merging.methods.bone_soup import BoneSoup, backbone_rewards
from frontier.realize.merging.methods.breadcrumbs import Breadcrumbs
from frontier.realize.merging.methods.breadcrumbs_ties import BreadcrumbsTies
from frontier.realize.merging.methods.dare_linear import DareLinear
from frontier.realize.merging.methods.dare_ties import DareTies
from frontier.realize.merging.methods.della import Della
from frontier.realize.merging.methods.della_linear import DellaLinear
from frontier.realize.merging.methods.factor_average import FactorAverage
from frontier.realize.merging.methods.karcher import Karcher
from frontier.realize.merging.methods.layerwise import Layerwise, block_of, layer_of
from frontier.realize.merging.methods.linear import Linear
from frontier.realize.merging.methods.model_stock import ModelStock
from frontier.realize.merging.methods.multislerp import MultiSlerp
from frontier.realize.merging.methods.nearswap import NearSwap
from frontier.realize.merging.methods.nuslerp import NuSlerp
from frontier.realize.merging.methods.passthrough import Passthrough
from frontier.realize.merging.methods.ram import Ram
from frontier.realize.merging.methods.ramplus_tl import RamPlusTensorLocal
from frontier.realize.merging.methods.rewarded_soups import RewardedSoups
from frontier.realize.merging.methods.salsa import Salsa
from frontier.realize.merging.methods.sce import Sce
from frontier.realize.merging.methods.slerp import Slerp
from frontier.realize.merging.methods.task_arithmetic import TaskArithmetic
from frontier.realize.merging.methods.ties import Ties
from frontier.realize.merging.methods.ties_peft import TiesPeft

_ALL: tuple[MergeMethod, ...] = (
    Linear(),
    Slerp(),
    NuSlerp(),
    MultiSlerp(),
    Karcher(),
    TaskArithmetic(),
    Ties(),
    TiesPeft(),
    DareLinear(),
    DareTies(),
    Della(),
    DellaLinear(),
    Breadcrumbs(),
    BreadcrumbsTies(),
    Sce(),
    Ram(),
    RamPlusTensorLocal(),
    NearSwap(),
    ArceeFusion(),
    ModelStock(),
    Passthrough(),
    Layerwise(),
    RewardedSoups(),
    FactorAverage(),
    Salsa(),
    BalancedActor(),
    BoneSoup(),
)
METHODS: dict[str, MergeMethod] = {m.name: m for m in _ALL}


def method(name: str) -> MergeMethod:
    """The merging method of this name.

    Raises:
        InputError: there is none; the nearest name is given.
    """
    if name not in METHODS:
        raise unknown_name("merge_method", name, METHODS)
    return METHODS[name]


__all__ = [
    "METHODS",
    "MergeMethod",
    "Parameters",
    "Setting",
    "backbone_rewards",
    "block_of",
    "layer_of",
    "method",
]
