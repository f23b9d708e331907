import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from frontier.realize.adapters import AdapterMixture


@pytest.fixture(scope="module")
def mixture(tiny_base, plain_adapters):
    names = list(plain_adapters)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base), plain_adapters[names[0]], adapter_name=names[0]
    )
    for name in names[1:]:
        model.load_adapter(plain_adapters[name], adapter_name=name)
    return AdapterMixture(model.eval(), names)
