import pytest
import torch


@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_the_export_is_the_policy_at_the_preference(moalign, bundle, tmp_path, kind):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from moalign.policy import SteerablePolicy

    out = tmp_path / kind
    asked = "helpful=0.6,warm=0.4"
    code, text, err = moalign("export", bundle, "--preference", asked, "--output_dir", out, "--kind", kind)
    assert (code, err) == (0, "")
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
    assert "--kind: found 'lara', expected one of lora, merged; did you mean 'lora'?" in refused(
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
