import json

import pytest
import torch
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.front import ParetoFront
from frontier.realize.soup import OPTIMIZERS, Soup
from moalign.cli.command import parse
from moalign.cli.soup import search
from moalign.soup import soup_of_bundle
from moalign.yaml_file import read_flat

EXAMPLE = "examples/soup.yaml"
SMALL = ("--n_prompts", 4, "--max_new_tokens", 4, "--budget", 10, "--blocks", 2, "--limits", "0,1.5")


@pytest.fixture
def call(bundle, reward, prompts_file):
    return ["soup", "search", "--bundle", bundle, "--reward", reward, "--dataset", prompts_file, *SMALL]


@pytest.fixture
def searched(moalign, call, tmp_path):
    out = tmp_path / "searched"
    code, text, err = moalign(*call, "--output_dir", out)
    assert code == 0, err
    return out, text, err


def test_a_search_writes_a_front_whose_points_are_soups(searched):
    out, text, err = searched
    assert "hypervolume" in text
    assert "Soups: 100%" in err
    front = ParetoFront.load(out / "front.json")
    assert front.objectives == ("helpful", "brief", "warm")
    assert front.info["search"]["blocks"] == ["layers 0-0", "layers 1-1"]
    assert front.reference_policy.kl == pytest.approx(0, abs=1e-6)
    assert front.normalizer["scale"] == [1.0, 2.0, 3.0]
    assert front.prompt_rewards.n_prompts == 4
    assert {Soup.of_point(p).experts for p in front.points} == {("helpful", "brief", "warm")}
    assert all((out / name).is_file() for name in ("front.png", "front.html"))
    assert len((out / "evaluations.jsonl").read_text().splitlines()) == 1 + 10 + 1  # head, soups, base


def test_a_search_that_lost_its_front_measures_nothing_twice(searched, moalign, call):
    out, _, _ = searched
    first = (out / "front.json").read_text()
    lines = (out / "evaluations.jsonl").read_text()
    code, again, _ = moalign(*call, "--output_dir", out, "--overwrite_output_dir")
    assert code == 0
    assert "holds 11 evaluations" in again
    assert (out / "front.json").read_text() == first
    assert (out / "evaluations.jsonl").read_text() == lines


@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_an_exported_point_answers_as_the_soup(searched, moalign, bundle, tmp_path, kind):
    out, _, _ = searched
    code, text, _ = moalign("soup", "export", out, "--point", 1, "--kind", kind, "--output_dir", tmp_path / "one")
    assert code == 0
    assert text.startswith("Point 1 (helpful ")
    soup = Soup.of_point(ParetoFront.load(out / "front.json").points[1])
    policy = soup_of_bundle(bundle)
    ids = torch.tensor([[1, 5, 9, 7]])
    with torch.no_grad(), policy.use(soup) as model:
        expected = model(ids).logits
    if kind == "lora":
        plain = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(bundle.parent / "base"), tmp_path / "one"
        )
    else:
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert_close(plain.eval()(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert (tmp_path / "one" / "tokenizer.json").is_file()
    assert json.loads((tmp_path / "one" / "soup.json").read_text())["soup"] == soup.to_json()


def test_experts_of_any_origin(moalign, tiny_base, plain_adapters, reward, prompts_file, tmp_path):
    experts = ",".join(f"{name}={folder}" for name, folder in list(plain_adapters.items())[:2])
    code, _, err = moalign(
        *("soup", "search", "--base", tiny_base, "--experts", experts, "--reward", reward, "--dataset", prompts_file),
        *(
            "--optimizer",
            "lattice",
            "--budget",
            3,
            "--n_prompts",
            3,
            "--max_new_tokens",
            3,
            "--output_dir",
            tmp_path / "out",
        ),
        "--everything",
    )
    assert code == 0, err
    front = ParetoFront.load(tmp_path / "out" / "front.json")
    assert [Soup.of_point(p).coefficients for p in front.points] == [((1, 0),), ((0.5, 0.5),), ((0, 1),)]
    assert front.normalizer is None


def test_refuses(refused, call, searched, bundle, plain_adapters, tmp_path, moalign):
    out = tmp_path / "out"
    assert "either a bundle, or base and experts" in refused(*call, "--output_dir", out, "--experts", "a=b")
    assert "did you mean 'nsga2'" in refused(*call, "--output_dir", out, "--optimizer", "nsga")
    assert "0 (one for the whole model) to 2" in refused(*call, "--output_dir", out, "--blocks", 3)
    assert "least and the largest" in refused(*call, "--output_dir", out, "--limits", "1,0")
    assert "leave blocks at 0" in refused(*call, "--output_dir", out, "--optimizer", "lattice")
    assert not out.exists()
    assert "already holds a result (front.json)" in refused(*call, "--output_dir", searched[0])
    assert "did you mean 'search'" in refused("soup", "serch")
    export = ["soup", "export", searched[0], "--output_dir", out]
    assert "needs --point" in refused(*export)
    assert "the front's points are 0.." in refused(*export, "--point", 99)
    weights = bundle / "helpful" / "adapter_model.safetensors"
    weights.write_bytes((bundle / "brief" / "adapter_model.safetensors").read_bytes())
    assert "helpful" in refused(*export, "--point", 0)
    assert not out.exists()


def test_help(moalign):
    assert moalign("soup")[0] == 2
    code, text, _ = moalign("soup", "--help")
    assert code == 0
    assert "search" in text
    assert "--kl_coefficient" in moalign("soup", "search", "--help")[1]
    assert set(search.OPTIMIZERS) == set(OPTIMIZERS)


def test_the_example_is_valid(request):
    path = request.config.rootpath / EXAMPLE
    values = parse(search.command(), ["--config", str(path)])
    options = values.build(search.SearchOptions)
    search._check(options)
    for name, entry in read_flat(path).items():
        found = getattr(options, name)
        assert (list(found) if isinstance(found, tuple) else found) == entry.value
    assert path.read_text().startswith(f"# moalign soup search --config {EXAMPLE}\n")
