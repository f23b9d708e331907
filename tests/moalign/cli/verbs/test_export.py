import pytest
import torch

from moalign.cli.verbs.export import parse_size


@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_the_export_is_the_policy_at_the_preference(moalign, bundle, tmp_path, kind):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from moalign.policy import SteerablePolicy

    out = tmp_path / kind
    asked = "helpful=0.6,warm=0.4"
    code, text, err = moalign("export", bundle, "--preference", asked, "--output_dir", out, "--kind", kind)
    assert (code, "Exporting: 100%" in err) == (0, kind == "merged")
    assert f"The policy at {asked} is in {out}" in text
    if kind == "lora":
        base = AutoModelForCausalLM.from_pretrained(bundle.parent / "base", dtype=torch.float32)
        model = PeftModel.from_pretrained(base, out)
    else:
        model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ids = torch.tensor([AutoTokenizer.from_pretrained(out)("a good day")["input_ids"]])
    with torch.no_grad():
        got = model(input_ids=ids).logits
        with SteerablePolicy.from_pretrained(bundle).steer(asked) as steered:
            torch.testing.assert_close(got, steered(input_ids=ids).logits, atol=1e-5, rtol=0)


def test_refuses(refused, bundle, tmp_path):
    out = tmp_path / "out"
    call = ["export", bundle, "--output_dir", out]
    assert "needs --preference" in refused(*call)
    assert "unknown objective 'breif': did you mean 'brief'?" in refused(*call, "--preference", "breif=1")
    assert "sum to 1, found 0.9" in refused(*call, "--preference", "brief=0.9")
    assert "--kind: found 'lara', expected one of lora, truncated, merged; did you mean 'lora'?" in refused(
        *call, "--kind", "lara"
    )
    assert not out.exists()


def test_never_writes_over_a_result_or_into_a_bundle(refused, bundle, tmp_path):
    call = ["export", bundle, "--preference", "brief=1"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter_config.json").write_text("{}")
    assert "already holds a result (adapter_config.json)" in refused(*call, "--output_dir", tmp_path / "out")
    assert "lies in a bundle" in refused(*call, "--output_dir", bundle / "helpful2")
    assert "lies in a bundle" in refused(*call, "--output_dir", bundle, "--overwrite_output_dir")


def test_a_truncated_export_prints_its_error(moalign, refused, bundle, prompts_file, front_of_three, tmp_path):
    out = tmp_path / "out"
    call = ["export", bundle, "--preference", "helpful=0.5,brief=0.5", "--kind", "truncated", "--output-dir", out]
    assert "a truncated export needs its rank" in refused(*call)
    code, text, _ = moalign(*call, "--rank", 2, "--prompts", prompts_file, "--n-prompts", 5, "--front", front_of_three)
    assert code == 0
    assert "Truncated to rank 2: relative error 0." in text
    assert "Logits on 5 prompts: KL " in text
    assert (
        "Expected rewards (measured, 95 % intervals): helpful 0.800 [0.760, 0.840], brief 0.700 [0.640, 0.760]" in text
    )
    assert (out / "truncation.json").is_file()


def test_a_front_in_the_bundle_is_used_unless_it_is_of_other_adapters(
    moalign, bundle, front_of_three, tmp_path, caplog
):
    import dataclasses
    import shutil

    from frontier.front import ParetoFront

    for file in front_of_three.iterdir():
        shutil.copyfile(file, bundle / file.name)
    call = ["export", bundle, "--preference", "helpful=0.5,brief=0.5", "--output_dir"]
    assert "Expected rewards (measured" in moalign(*call, tmp_path / "a")[1]
    front = ParetoFront.load(bundle / "front.json")
    dataclasses.replace(front, info={"adapters_sha256": "of others"}).save(bundle / "front.json")
    assert "Expected rewards" not in moalign(*call, tmp_path / "b")[1]
    assert "Expected rewards: not known" in (tmp_path / "b" / "README.md").read_text()


def test_a_grid(moalign, refused, bundle, tmp_path):
    call = ["export", bundle, "--grid", 3, "--output_dir", tmp_path / "out"]
    code, text, _ = moalign(*call)
    assert code == 0
    assert "3 LoRAs of rank 6 are in" in text
    assert (tmp_path / "out" / "helpful-1_brief-0_warm-0" / "adapter_model.safetensors").is_file()
    assert "already holds a result (grid.json)" in refused(*call)
    assert "a grid is a set of adapters" in refused(*call, "--kind", "merged", "--overwrite-output-dir")
    assert "one of the two" in refused(*call, "--preference", "brief=1")


def test_loose_adapters_and_shards(moalign, refused, tiny_base, plain_adapters, tmp_path):
    named = ",".join(f"{name}={path}" for name, path in plain_adapters.items())
    call = [
        "export",
        "--adapters",
        named,
        "--preference",
        "helpful=0.6,warm=0.4",
        "--kind",
        "merged",
        "--output_dir",
        tmp_path / "out",
    ]
    assert "--adapters needs --base" in refused(*call)
    assert "expected a size such as 5GB" in refused(*call, "--base", tiny_base, "--max_shard_size", "much")
    code, _, _ = moalign(*call, "--base", tiny_base, "--max-shard-size", "20KB")
    assert code == 0
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 1


@pytest.mark.parametrize(("text", "size"), [("5GB", 5 * 10**9), ("1.5 mb", 1_500_000), ("2GiB", 2**31), ("700", 700)])
def test_sizes(text, size):
    assert parse_size(text) == size


def test_the_model_for_logits_is_that_of_the_revision(plain_adapters, tmp_path, monkeypatch):
    from moalign.cli.verbs import export
    from moalign.policy import SteerablePolicy

    asked = []

    class Loaded(Exception):
        pass

    def load(*args, **options):
        asked.append((args, options))
        raise Loaded

    monkeypatch.setattr(SteerablePolicy, "from_pretrained", load)
    (tmp_path / "prompts.txt").write_text("a good day\n")
    given = {"prompts": str(tmp_path / "prompts.txt"), "output_dir": "", "base": "org/base@v2"}
    for more in ({"bundle": "it"}, {"adapters": {"helpful": "there"}}):
        with pytest.raises(Loaded):
            export._measure(export.ExportOptions(**given, **more), None, None)
    assert asked == [
        (("it",), {"base": "org/base", "revision": "v2"}),
        (("org/base",), {"adapters": {"helpful": "there"}, "revision": "v2"}),
    ]
