import shutil

import pytest

from frontier.errors import InputError
from moalign.exporting import ExportSource, export_grid, export_point
from moalign.exporting.live import export_policy
from moalign.exporting.place import check_outside_bundles, check_place
from moalign.policy import SteerablePolicy
from moalign.preference import Preference

POINT = Preference.parse("helpful=0.7,brief=0.3")


@pytest.fixture
def own(tiny_base, plain_adapters, tmp_path):
    """A base and adapters that may be destroyed."""
    base = shutil.copytree(tiny_base, tmp_path / "base")
    return base, {name: shutil.copytree(path, tmp_path / name) for name, path in plain_adapters.items()}


def export(base, adapters, out, what):
    if what == "grid":
        export_grid(ExportSource.from_adapters(base, adapters), [POINT], out)
    elif what.startswith("live"):
        kind = what.removeprefix("live ")
        policy = SteerablePolicy.from_pretrained(base, adapters=adapters)
        export_policy(policy, POINT, out, kind, rank=2 if kind == "truncated" else None)
    else:
        export_point(ExportSource.from_adapters(base, adapters), POINT, out, what, progress=False)


def held(folder):
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*")}


@pytest.mark.parametrize("what", ["lora", "merged", "grid", "live lora", "live truncated", "live merged"])
def test_no_export_replaces_what_it_is_made_of(own, what):
    base, adapters = own
    for out, said in ((base, "the base model"), (adapters["brief"], "an adapter")):
        before = held(out)
        with pytest.raises(InputError, match=f"is the folder of {said}: write to another"):
            export(base, adapters, out, what)
        assert held(out) == before


def test_no_export_goes_into_a_bundle(policy, bundle, tmp_path):
    before = held(bundle)
    (tmp_path / "link").symlink_to(bundle)
    source = ExportSource.from_bundle(bundle)
    for out in (bundle, bundle / "helpful", bundle / "new" / "deep", tmp_path / "link"):
        for write in (
            lambda: export_point(source, POINT, out),  # noqa: B023
            lambda: export_grid(source, [POINT], out),  # noqa: B023
            lambda: policy.export(POINT, out),  # noqa: B023
            lambda: check_outside_bundles(out),  # noqa: B023
        ):
            with pytest.raises(InputError, match=r"lies in a bundle.*; name another folder"):
                write()
    assert held(bundle) == before
    assert check_place(bundle.parent / "other", bundle) == bundle.parent.resolve() / "other"
