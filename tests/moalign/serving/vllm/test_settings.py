import pytest

from frontier.errors import InputError
from moalign.serving.vllm.settings import Settings


def read(**variables):
    return Settings.from_environment(variables)


def test_nothing_to_serve_is_no_plugin():
    assert read() is None
    assert read(MOALIGN_BUNDLES="  ") is None


def test_all_variables(kept_bundle, tmp_path):
    found = read(
        MOALIGN_BUNDLES=f"policy={kept_bundle}, other={kept_bundle}",
        MOALIGN_VLLM_CACHE=str(tmp_path),
        MOALIGN_VLLM_CACHE_ADAPTERS="7",
        MOALIGN_VLLM_CACHE_BYTES="20 GB",
        MOALIGN_VLLM_STEP="0.1",
    )
    assert found.bundles() == {"policy": kept_bundle, "other": kept_bundle}
    assert (found.cache, found.max_adapters, found.max_bytes, found.partitions) == (tmp_path, 7, 20 * 10**9, 10)


def test_defaults(kept_bundle):
    found = read(MOALIGN_BUNDLES=str(kept_bundle), XDG_CACHE_HOME="/somewhere")
    assert found.bundles() == {"bundle": kept_bundle}  # a bundle alone has its folder's name
    assert (str(found.cache), found.partitions) == ("/somewhere/moalign/vllm", 20)


def test_a_folder_of_bundles_shows_what_is_in_it_now(bundle, tmp_path):
    root = tmp_path / "root"
    (root / "not a bundle").mkdir(parents=True)
    (root / "empty").mkdir()
    found = read(MOALIGN_BUNDLES=str(root))
    assert found.bundles() == {}
    bundle.rename(root / "late")
    (root / "a=b").symlink_to(root / "late")  # a name that would be read as a weight
    assert found.bundles() == {"late": root / "late"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MOALIGN_BUNDLES": "/no/such/folder"}, "no such folder"),
        ({"MOALIGN_BUNDLES": "a=/no/such/folder"}, "is no bundle"),
        ({"MOALIGN_BUNDLES": "../x=BUNDLE"}, "cannot be called '../x'"),
        ({"MOALIGN_BUNDLES": "a=BUNDLE,a=BUNDLE"}, "names 'a' twice"),
        ({"MOALIGN_BUNDLES": "a=BUNDLE,"}, "expected name=folder"),
        ({"MOALIGN_VLLM_STEP": "0.3"}, "a step that divides 1"),
        ({"MOALIGN_VLLM_STEP": "nan"}, "a step that divides 1"),
        ({"MOALIGN_VLLM_STEP": "0"}, "a step that divides 1"),
        ({"MOALIGN_VLLM_STEP": "-0.5"}, "a step that divides 1"),
        ({"MOALIGN_VLLM_CACHE_ADAPTERS": "0"}, "MOALIGN_VLLM_CACHE_ADAPTERS=0"),
        ({"MOALIGN_VLLM_CACHE_ADAPTERS": "3 GB"}, "at least 1"),
        ({"MOALIGN_VLLM_CACHE_BYTES": "20 GiB"}, "such as 20GB"),
    ],
)
def test_refusals(variables, message, kept_bundle):
    variables = {"MOALIGN_BUNDLES": "a=BUNDLE", **variables}
    variables["MOALIGN_BUNDLES"] = variables["MOALIGN_BUNDLES"].replace("BUNDLE", str(kept_bundle))
    with pytest.raises(InputError, match=message):
        read(**variables)
