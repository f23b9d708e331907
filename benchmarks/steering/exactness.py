"""How far each way to mix two adapters into one is from the exact ΔW, PEFT's own among them."""

import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.report import Row, at_most
from benchmarks.steering.models import Size, lora_layers, make_base, over
from frontier.realize.adapters import AdapterMixture
from frontier.realize.export import export_lora

NAMES = ("helpful", "brief")
WEIGHTS = [0.5, 0.5]
SETTINGS = {"lora": False, "rslora": True}


@torch.no_grad()
def rows(quick: bool) -> list[Row]:
    """Relative error of ΔW, over all layers, of ours and of PEFT's `add_weighted_adapter`."""
    base = make_base(Size(64 if quick else 512, 2, 1, 1), "cpu", torch.float32)
    found: list[Row] = []
    for setting, rslora in SETTINGS.items():
        model = None
        for name in NAMES:
            torch.manual_seed(len(name))
            config = LoraConfig(
                r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, use_rslora=rslora
            )
            if model is None:
                model = get_peft_model(over(base), config, adapter_name=name)
            else:
                model.add_adapter(name, config)
        assert model is not None
        exact = _exact(model)
        for kind in ("linear", "svd", "cat"):
            model.add_weighted_adapter(list(NAMES), WEIGHTS, f"mixed_{kind}", combination_type=kind)
            error = _error({path: layer.get_delta_weight(f"mixed_{kind}") for path, layer in lora_layers(model)}, exact)
            what = f"PEFT's add_weighted_adapter '{kind}' of two {setting} adapters of rank 8 at 0.5, 0.5: relative error of ΔW"
            found.append(Row(f"{setting}.peft_{kind}.error", what, error))
            model.delete_adapter(f"mixed_{kind}")
        mixture = AdapterMixture(model.eval(), NAMES)
        ours = {path: up @ down for path in exact for up, down in [mixture.factors(path, WEIGHTS)]}  # type: ignore[misc]
        error = _error(ours, exact)
        found.append(Row(f"{setting}.error", "ours: relative error of ΔW", error, **at_most(1e-5, error)))
        error = _exported(mixture, base)
        what = "ours exported, loaded by plain PEFT, beside ours per row: relative error of the logits"
        found.append(Row(f"{setting}.exported.error", what, error, **at_most(1e-5, error)))
    return found


def _exact(model: PeftModel) -> dict[str, Tensor]:
    """Σ w_k ΔW_k of every layer in float64, of PEFT's own single ΔW_k."""
    found = {}
    for path, layer in lora_layers(model):
        deltas = [layer.lora_B[n].weight.double() @ layer.lora_A[n].weight.double() * layer.scaling[n] for n in NAMES]
        found[path] = torch.stack([w * delta for w, delta in zip(WEIGHTS, deltas, strict=True)]).sum(0)
    return found


def _error(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    off = sum(float((found[path].double() - exact[path]).square().sum()) for path in exact)
    return float((off / sum(float(delta.square().sum()) for delta in exact.values())) ** 0.5)


def _exported(mixture: AdapterMixture, base: LlamaForCausalLM) -> float:
    ids = torch.arange(3, 19)[None]
    with mixture.steer(torch.tensor(WEIGHTS)):
        own = mixture.model(ids).logits
    with tempfile.TemporaryDirectory() as folder:
        export_lora(mixture, WEIGHTS, Path(folder) / "out")
        plain = PeftModel.from_pretrained(over(base), Path(folder) / "out").eval()
        return float((plain(ids).logits - own).norm() / own.norm())
