import json
import random

import pytest


@pytest.fixture
def held_out(tmp_path):
    """Pairs whose label follows the reward's first letter count, with a tenth of them wrong."""

    def write(name="held_out.jsonl", n=60, seed=0, objective=None):
        draw = random.Random(seed)
        rows = []
        for i in range(n):
            a, b = ("".join(draw.choice("ab ") for _ in range(draw.randint(3, 12))) for _ in range(2))
            right = a.count("a") >= b.count("a")
            labels = {objective or "helpful": float(right if draw.random() < 0.9 else not right)}
            rows.append({"prompt": f"p{i % 12}", "completion_a": a, "completion_b": b, "labels": labels})
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write


@pytest.fixture
def heads(tiny_base, tmp_path):
    from reward_heads import TransformerReward

    TransformerReward.from_base(str(tiny_base), ["helpful", "brief"]).save_pretrained(tmp_path / "heads")
    return tmp_path / "heads"


def test_evaluate_prints_and_writes(moalign, heads, held_out, tmp_path):
    out = tmp_path / "report"
    code, text, err = moalign("reward", "evaluate", "--reward", heads, "--eval_data", held_out(), "--output_dir", out)
    assert code == 0, err
    assert "helpful" in text
    report = json.loads((out / "report.json").read_text())
    assert report["diagnosis"]["n_pairs"] == 60
    assert report["diagnosis"]["accuracy"]["pairs"][0]["objective"] == "helpful"
    assert "<h2>Accuracy</h2>" in (out / "report.html").read_text()


def test_evaluate_keeps_what_is_there(moalign, refused, heads, held_out, tmp_path):
    call = ("reward", "evaluate", "--reward", heads, "--eval_data", held_out(), "--output_dir", heads)
    assert moalign(*call)[0] == 0  # a report may lie beside the reward
    assert "already holds a result (report.json)" in refused(*call)
    assert moalign(*call, "--overwrite_output_dir")[0] == 0


def test_evaluate_refuses_labels_of_others_and_leaves_nothing(refused, heads, held_out, tmp_path):
    data = held_out(objective="warm")
    message = refused(
        "reward", "evaluate", "--reward", heads, "--eval_data", data, "--output_dir", tmp_path / "new" / "r"
    )
    assert "no row has a label for any of the reward's objectives helpful, brief" in message
    assert not (tmp_path / "new").exists()


def test_calibrate_then_everyone_sees_the_corrected_scores(moalign, refused, reward_file, held_out, heads, tmp_path):
    from moalign.cli.sources import load_reward
    from reward_heads.transforms import TransformedReward

    before = load_reward(str(heads)).score(["p"], ["aaab"])
    call = ("reward", "calibrate", "--reward", heads, "--calibration_data", held_out(n=200))
    code, text, err = moalign(*call, "--decorrelate", "length", "--method", "none")
    assert code == 0, err
    assert "Spearman with length" in text
    after = load_reward(str(heads))
    assert isinstance(after, TransformedReward)
    assert not after.score(["p"], ["aaab"]).equal(before)
    assert "already has corrections" in refused(*call)
    code, text, err = moalign("reward", "inspect", "--reward", heads, "--data", held_out(), "--n", 2)
    assert code == 0, err
    assert "corrections" in text
    assert "decorrelation" in text
    assert text.count("helpful ") >= 2


def test_calibrate_into_another_folder_leaves_the_reward_alone(moalign, heads, held_out, tmp_path):
    from reward_heads import TransformerReward
    from reward_heads.saved import load_reward

    out = tmp_path / "corrected"
    code, _, err = moalign(
        "reward", "calibrate", "--reward", heads, "--calibration_data", held_out(n=200), "--decorrelate", "length",
        "--method", "none", "--output_dir", out,
    )  # fmt: skip
    assert code == 0, err
    assert isinstance(load_reward(heads), TransformerReward)
    assert load_reward(out).transforms[0].kind == "decorrelation"
    assert json.loads((out / "calibration.json").read_text())["decorrelation"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--method", "temprature"), "did you mean 'temperature'"),
        (("--method", "none"), "corrects nothing"),
        (("--decorrelate", "lenght"), "did you mean 'length'"),
        (("--reward", "nowhere"), "no folder nowhere"),
    ],
)
def test_calibrate_refuses(refused, heads, held_out, more, message):
    options = {"--reward": heads, "--calibration_data": held_out(), **dict([more])}
    assert message in refused("reward", "calibrate", *(x for pair in options.items() for x in pair))
    assert not (heads / "transforms.json").exists()


def test_inspect_as_json(moalign, heads):
    code, text, _ = moalign("reward", "inspect", "--reward", heads, "--json")
    assert code == 0
    found = json.loads(text)
    assert found["kind"] == "TransformerReward"
    assert found["objectives"] == ["helpful", "brief"]
    assert found["corrections"] == []


@pytest.fixture
def probe(moalign, tiny_base, held_out, tmp_path):
    pairs = held_out("for_probe.jsonl", 80, 3)
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    flags = tmp_path / "flags.jsonl"
    flags.write_text(
        "".join(
            json.dumps(
                {
                    "prompt": r["prompt"],
                    "completion": r["completion_a"],
                    "scores": {"safe": float("b" in r["completion_a"][:2])},
                }
            )
            + "\n"
            for r in rows
        )
    )
    out = tmp_path / "probe"
    call = (
        "reward",
        "probe",
        "--model",
        tiny_base,
        "--train_data",
        f"{pairs},{flags}",
        "--output_dir",
        out,
        "--sign_aware",
        "safe",
    )
    code, _, err = moalign(*call)
    assert code == 0, err
    return out


def test_a_probe_goes_through_every_action(moalign, probe, held_out, tmp_path):
    data = held_out(n=120)
    code, text, err = moalign("reward", "inspect", "--reward", probe)
    assert code == 0, err
    assert "ProbeReward" in text
    report = tmp_path / "report"
    assert moalign("reward", "evaluate", "--reward", probe, "--eval_data", data, "--output_dir", report)[0] == 0
    code, _, err = moalign(
        "reward",
        "calibrate",
        "--reward",
        probe,
        "--calibration_data",
        data,
        "--method",
        "helpful=temperature,safe=none",
    )
    assert code == 0, err


def test_flags_of_a_probe_are_remembered(probe):
    from moalign.cli.reward.evaluate import flags_of
    from reward_heads.saved import load_reward

    assert flags_of(load_reward(probe)) == ["safe"]


def test_calibrate_does_not_replace_another_reward(refused, moalign, heads, probe, held_out):
    call = ("reward", "calibrate", "--reward", heads, "--calibration_data", held_out(n=120), "--output_dir", probe)
    call = (*call, "--decorrelate", "length", "--method", "none")
    before = (probe / "heads.safetensors").read_bytes()
    assert "already holds a result (probe.json)" in refused(*call)
    assert (probe / "heads.safetensors").read_bytes() == before


def test_overwriting_a_reward_of_another_kind_leaves_one_that_loads(moalign, tiny_base, heads, held_out):
    from reward_heads.saved import load_reward

    call = ("reward", "probe", "--model", tiny_base, "--train_data", held_out(n=60), "--output_dir", heads)
    assert moalign(*call, "--overwrite_output_dir")[0] == 0
    assert type(load_reward(heads)).__name__ == "ProbeReward"


def test_stale_corrections_can_be_replaced(moalign, heads, held_out):
    from reward_heads import TransformerReward
    from reward_heads.saved import load_reward

    call = ("reward", "calibrate", "--reward", heads, "--calibration_data", held_out(n=200), "--decorrelate", "length")
    assert moalign(*call, "--method", "none")[0] == 0
    reward = TransformerReward.from_pretrained(heads)
    reward.offset += 1.0
    reward.save_pretrained(heads)  # trained further: the old corrections belong to other weights
    code, _, err = moalign(*call, "--method", "none", "--overwrite")
    assert code == 0, err
    assert load_reward(heads).transforms[0].kind == "decorrelation"


def test_every_marker_of_a_reward_counts_as_a_result():
    from moalign.cli.output_folder import REWARD_MARKERS
    from reward_heads.saved import MARKERS, USER_MODELS

    assert set(REWARD_MARKERS) == {*MARKERS, *USER_MODELS}
