import pytest
import torch

from frontier.errors import InputError
from frontier.realize.merging import MergeConfig
from frontier.realize.merging.reference import Reference

FULL = """
merge_method: ties
base_model: org/base
models:
  - model: org/one
    parameters:
      weight: [0.2, 1e-3]
      density:
        - filter: mlp
          value: 0.5
        - value: 1
  - model: org/base+org/lora
parameters:
  normalize: true
  int8_mask: true
dtype: bfloat16
tokenizer_source: base
"""


def test_reads_a_file_of_mergekit(tmp_path):
    (tmp_path / "merge.yaml").write_text(FULL)
    config = MergeConfig.read(tmp_path / "merge.yaml")
    one, two = config.slices[0].sources
    assert (config.method, config.base, config.text) == ("ties", Reference("org/base"), FULL)
    assert one.parameters == {"weight": [0.2, 0.001], "density": [{"filter": "mlp", "value": 0.5}, {"value": 1}]}
    assert two.model == Reference("org/base", "org/lora")
    assert config.out_dtype == torch.bfloat16
    assert config.parameters == {"normalize": True, "int8_mask": True}
    assert [str(ref) for ref in config.references()] == ["org/base", "org/one", "org/base+org/lora"]


def test_out_dtype_wins_over_dtype():
    config = MergeConfig.from_dict(
        {"merge_method": "linear", "models": [{"model": "a"}], "dtype": "float32", "out_dtype": "torch.float16"}
    )
    assert config.out_dtype == torch.float16


def test_slices():
    config = MergeConfig.parse("""
merge_method: slerp
slices:
  - sources: [{model: a, layer_range: [0, 4]}, {model: b, layer_range: [2, 6], parameters: {weight: 1}}]
    base_model: b
    parameters: {t: 0.5}
""")
    part = config.slices[0]
    assert [source.layers for source in part.sources] == [(0, 4), (2, 6)]
    assert (part.base, part.parameters) == (Reference("b"), {"t": 0.5})


def test_a_dictionary_is_written_for_the_card():
    config = MergeConfig.from_dict({"merge_method": "linear", "models": [{"model": "a", "parameters": {"weight": 1}}]})
    assert MergeConfig.parse(config.text) == config


LINEAR = {"merge_method": "linear", "models": [{"model": "a"}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_mdoel": "b"}, "unknown key of the merge configuration 'base_mdoel': did you mean 'base_model'"),
        ({"models": [{"modle": "a"}]}, r"unknown key of models\[0\] 'modle': did you mean 'model'"),
        ({"models": [{"parameters": {}}]}, r"models\[0\] needs a model"),
        ({"models": [{"model": "a"}, {"model": "a"}]}, "stands there twice"),
        ({"models": []}, "at least one entry"),
        ({"models": "a"}, "must be a list"),
        ({"models": ["a"]}, "must be keys with values"),
        ({"slices": []}, "either models or slices"),
        ({"merge_method": None}, "merge_method must be the name"),
        ({"dtype": "bfloat"}, "unknown dtype 'bfloat': did you mean 'bfloat16'"),
        ({"modules": {}}, "modules is not supported"),
        ({"chat_template": "auto"}, "chat_template is not supported"),
        ({"tokenizer": {"source": "union"}}, "tokenizer is not supported"),
        ({"tokenizer_source": 3}, "tokenizer_source must be"),
        ({"parameters": [1]}, "parameters must be settings by name"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(InputError, match=message):
        MergeConfig.from_dict(LINEAR | change)


@pytest.mark.parametrize("found", [None, [0], [4, 2], [-1, 2], [0, 1.5], [0, True]])
def test_refuses_layer_ranges(found):
    with pytest.raises(InputError, match=r"slices\[0\].sources\[0\].layer_range must be"):
        MergeConfig.from_dict(
            {"merge_method": "linear", "slices": [{"sources": [{"model": "a", "layer_range": found}]}]}
        )


def test_refuses_slices_of_several_lengths():
    sources = [{"model": "a", "layer_range": [0, 2]}, {"model": "b", "layer_range": [0, 3]}]
    with pytest.raises(InputError, match="equally many layers, found 2, 3"):
        MergeConfig.from_dict({"merge_method": "linear", "slices": [{"sources": sources}]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", "line 1: not valid YAML"),
        ("a: 1\na: 2", "line 2: not valid YAML: key 'a' comes twice"),
        ("- a", "must be keys with values"),
        ("", "must be keys with values"),
    ],
)
def test_refuses_files(tmp_path, text, message):
    (tmp_path / "merge.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"merge\.yaml: .*{message}"):
        MergeConfig.read(tmp_path / "merge.yaml")


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        MergeConfig.read(tmp_path / "merge.yaml")
