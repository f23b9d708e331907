import json

import pytest
import torch

from frontier.errors import InputError
from moalign.bundle import BaseModel, Manifest, portable_location, read_manifest, weights_digest, write_manifest


@pytest.fixture
def folder(tmp_path):
    for name in ("helpful", "brief"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    write_manifest(
        tmp_path, Manifest(("helpful", "brief"), BaseModel("some/model", "d1", "abc"), training={"method": "clp"})
    )
    return tmp_path


def test_round_trip(folder):
    manifest = read_manifest(folder)
    assert manifest.objectives == ("helpful", "brief")
    assert manifest.base == BaseModel("some/model", "d1", "abc")
    assert manifest.training == {"method": "clp"}
    assert sorted(manifest.files) == ["brief/adapter_config.json", "helpful/adapter_config.json"]


def edit(folder, **changes):
    path = folder / "steer.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "DELETE"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, "'schema_version': found 99, this moalign reads 1"),
        ({"objectives": "DELETE"}, "field 'objectives' is missing"),
        ({"normaliser": {}}, "did you mean 'normalizer'"),
        ({"base": {"name": "x"}}, "field 'base'"),
        ({"files": {"helpful/gone.json": "0"}}, "'helpful/gone.json' is missing"),
    ],
)
def test_refuses_a_damaged_manifest(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(InputError, match=message):
        read_manifest(folder)


def test_refuses_what_is_no_bundle(tmp_path):
    with pytest.raises(InputError, match=r"no bundle: it has no steer.json"):
        read_manifest(tmp_path)
    (tmp_path / "steer.json").write_text("[1")
    with pytest.raises(InputError, match="not valid JSON"):
        read_manifest(tmp_path)


def test_verification_can_be_left_out(folder):
    (folder / "brief" / "adapter_config.json").write_text("{ }")
    with pytest.raises(InputError, match="altered"):
        read_manifest(folder)
    assert read_manifest(folder, verify=False).objectives == ("helpful", "brief")


def test_digest_knows_weights_names_and_shapes():
    tensors = {"a": torch.arange(100.0).view(10, 10), "b": torch.ones(3)}
    digest = weights_digest(tensors.items())
    assert digest == weights_digest(reversed(list(tensors.items())))
    assert digest == weights_digest({k: v.bfloat16() for k, v in tensors.items()}.items())
    assert digest != weights_digest({**tensors, "b": torch.full((3,), 1.1)}.items())
    assert digest != weights_digest({**tensors, "a": tensors["a"].view(100)}.items())
    assert digest != weights_digest({"a": tensors["a"], "c": tensors["b"]}.items())


def test_local_bases_are_named_relative_to_the_bundle(tmp_path):
    (tmp_path / "base").mkdir()
    assert portable_location(str(tmp_path / "base"), tmp_path / "runs" / "x") == "../../base"
    assert portable_location("org/model", tmp_path) == "org/model"


@pytest.mark.parametrize(
    ("conditioning", "adapters", "mixing"),
    [
        (None, ("helpful", "brief"), "sum_k w_k"),
        (
            {"kind": "adapter_mixture", "adapters": ["helpful", "brief", "shared"], "shared": True},
            ("helpful", "brief", "shared"),
            "'shared' is added at the sum",
        ),
        ({"kind": "prompt", "adapters": ["policy"], "style": "dpa"}, ("policy",), "told in the prompt"),
        ({"kind": "none", "adapters": ["policy"]}, ("policy",), "the same at every preference"),
    ],
)
def test_the_conditioning_says_which_folders_count_and_how_they_mix(tmp_path, conditioning, adapters, mixing):
    for name in (*adapters, "unrelated"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(name)
    write_manifest(tmp_path, Manifest(("helpful", "brief"), BaseModel("some/model", "d1"), conditioning=conditioning))
    assert mixing in json.loads((tmp_path / "steer.json").read_text())["mixing"]
    manifest = read_manifest(tmp_path)
    assert manifest.adapters == adapters
    assert manifest.conditioning == conditioning
    assert sorted(manifest.files) == sorted(f"{name}/adapter_config.json" for name in adapters)
    (tmp_path / adapters[-1] / "adapter_config.json").write_text("x")
    with pytest.raises(InputError, match=f"'{adapters[-1]}/adapter_config.json' was altered"):
        read_manifest(tmp_path)
