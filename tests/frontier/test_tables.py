import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import FrontPoint, InputError, ParetoFront

NAMES = ("helpful", "brief")

FULL = """weight.helpful,weight.brief,helpful,brief,helpful.se,brief.se,kl,n_prompts,non_dominated,source
0.0,1.0,0.1,1.0,0.02,,0.5,64,True,clp
0.5,0.5,0.8,0.7,0.02,0.03,,64,True,"clp, second run"
,,0.2,0.3,,,,32,False,
"""


@pytest.fixture
def write(tmp_path):
    def call(text, name="front.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf8")
        return path

    return call


def test_a_csv_by_hand(write):
    front = ParetoFront.from_csv(write(FULL))
    assert front.objectives == NAMES
    first, second, third = front.points
    assert first.rewards == (0.1, 1.0)
    assert first.standard_error[0] == 0.02
    assert math.isnan(first.standard_error[1])
    assert first.preference == {"weights": {"helpful": 0.0, "brief": 1.0}}
    assert (first.kl, first.n_prompts, first.source) == (0.5, 64, "clp")
    assert (second.kl, second.source) == (None, "clp, second run")
    assert (third.preference, third.n_prompts, third.source) == (None, 32, "")
    assert all(p.extra == {} for p in front.points)


def test_a_plain_table_with_only_objectives(write):
    text = "\ufeffhelpful , brief\r\n1,2\r\n\r\n3,1e-3\r\n"  # as a spreadsheet writes it: byte order mark, CRLF, an empty line
    front = ParetoFront.from_csv(write(text), n_prompts=50, source="sheet", normalizer={"scale": 1}, info={"seed": 1})
    assert front.rewards.tolist() == [[1, 2], [3, 0.001]]
    assert np.isnan(front.weights).all()
    assert {(p.n_prompts, p.source) for p in front.points} == {(50, "sheet")}
    assert (front.normalizer, front.info) == ({"scale": 1}, {"seed": 1})


def test_the_same_from_a_data_frame():
    frame = pd.DataFrame({"helpful": [1, 3], "brief": [2.0, 0.5]})
    assert ParetoFront.from_frame(frame).rewards.tolist() == [[1, 2], [3, 0.5]]


def test_named_objectives_leave_the_rest_to_extra(write):
    path = write("model,brief,sample,helpful,year\ngpt,1,Sure.,2,2024\nllm,3,,4,2025\n")
    front = ParetoFront.from_csv(path, NAMES)
    assert front.rewards.tolist() == [[2, 1], [4, 3]]
    assert front.points[0].extra == {"model": "gpt", "sample": "Sure.", "year": "2024"}
    assert front.points[1].extra == {"model": "llm", "year": "2025"}
    frame = pd.DataFrame({"helpful": [1.0], "brief": [2.0], "year": np.array([2024]), "note": [None]})
    found = ParetoFront.from_frame(frame, NAMES).points[0].extra
    assert found == {"year": 2024}
    assert type(found["year"]) is int


def test_an_objective_may_have_the_name_of_another_column(write):
    front = ParetoFront.from_csv(write("helpful,kl\n1,-2\n"), ("helpful", "kl"))
    assert front.rewards.tolist() == [[1, -2]]
    assert front.points[0].kl is None


def test_columns_that_are_minimised(write):
    path = write("quality,latency,latency.se,weight.quality,weight.latency\n1,30,2,1,0\n0.5,0,1,0,1\n")
    front = ParetoFront.from_csv(path, minimize=("latency",))
    assert front.rewards.tolist() == [[1, -30], [0.5, 0]]
    assert front.standard_errors[:, 1].tolist() == [2, 1]
    assert front.info["minimized"] == ["latency"]
    assert ParetoFront.from_csv(path, minimize="latency").rewards.tolist() == front.rewards.tolist()
    with pytest.warns(UserWarning, match=r"looks like a cost: latency .*pass minimize=\('latency',\)"):
        ParetoFront.from_csv(path)


def test_costs_are_not_negated_twice(tmp_path):
    names = ("quality", "latency")
    rows = [((1, 0), (1, 30)), ((0, 1), (0.5, 0))]
    front = ParetoFront.of_sweep(names, rows, minimize=("latency",))
    path = front.to_csv(tmp_path / "front.csv")
    message = r"front\.csv: no value of column 'latency' is above 0, so it is negative already"
    with pytest.raises(InputError, match=message):
        ParetoFront.from_csv(path, minimize=("latency",))
    back = ParetoFront.from_csv(path, info={"minimized": ["latency"]})
    assert back.rewards.tolist() == front.rewards.tolist()
    assert len(front.merge(back).objectives) == 2
    free = tmp_path / "free.csv"
    free.write_text("quality,latency\n1,0\n2,0\n")
    assert ParetoFront.from_csv(free, minimize="latency").rewards[:, 1].tolist() == [0, 0]


@pytest.mark.parametrize(
    "name", ["kl", "n_prompts", "non_dominated", "source", "sample", "weight.helpful", "helpful.se"]
)
def test_objectives_that_would_overwrite_another_column_are_refused(name, tmp_path):
    front = ParetoFront(("helpful", name), (FrontPoint((1, 2), (0, 0), 8, kl=0.5),))
    for write in (front.to_frame, lambda: front.to_csv(tmp_path / "front.csv")):
        with pytest.raises(InputError, match=rf"objective '{name}' has the name of another column of the table"):
            write()


# ---- round trips

finite = st.floats(allow_nan=False, allow_infinity=False)
error = st.none() | st.floats(0, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc"))).map(str.strip).filter(lambda s: s.lower() != "nan")


@st.composite
def points(draw):
    weights = draw(st.none() | st.tuples(finite, finite))
    return FrontPoint(
        draw(st.tuples(finite, finite)),
        tuple(math.nan if e is None else e for e in draw(st.tuples(error, error))),
        draw(st.integers(1, 10**6)),
        None if weights is None else {"weights": dict(zip(NAMES, weights, strict=True))},
        draw(st.none() | finite),
        draw(texts),
    )


def in_bits(front):
    arrays = (front.rewards, front.standard_errors, front.weights)
    rest = [(None if p.kl is None else p.kl.hex(), p.n_prompts, p.source) for p in front.points]
    return [np.where(np.isnan(a), np.nan, a).tobytes() for a in arrays], rest


@pytest.mark.filterwarnings("ignore:everything is maximised", "ignore:.*encountered")
@settings(deadline=None, max_examples=60)
@given(st.lists(points(), min_size=1, max_size=5))
def test_csv_and_data_frame_come_back_bit_for_bit(tmp_path_factory, rows):
    front = ParetoFront(NAMES, tuple(rows))
    path = front.to_csv(tmp_path_factory.mktemp("table") / "front.csv")
    assert in_bits(ParetoFront.from_csv(path)) == in_bits(front)
    assert in_bits(ParetoFront.from_frame(front.to_frame())) == in_bits(front)
    again = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"source": str})
    assert in_bits(ParetoFront.from_frame(again)) == in_bits(front)


# ---- refusals


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"front\.csv: the file is empty"),
        ("helpful,brief\n", {}, r"front\.csv: no points below the heading helpful, brief"),
        ("helpful,brief\n1,2\n1,2,3\n", {}, r"front\.csv:3: 3 values for 2 columns \(helpful, brief\)"),
        ("helpful,brief\n1,2\n3,much\n", {}, r"front\.csv:3: column 'brief' must hold numbers, found 'much'; name the columns"),
        ("helpful,brief\n1,2\n3,much\n", {"objectives": NAMES}, r"front\.csv:3: column 'brief' must hold numbers, found 'much'$"),
        ("helpful,brief\n1,2\n3,\n", {}, r"front\.csv:3: column 'brief' is empty"),
        ("helpful,brief\n1,2\n3,nan\n", {}, r"front\.csv:3: column 'brief' is empty"),
        ("helpful,brief\n1,inf\n", {}, r"front\.csv:2: column 'brief' must be finite, found 'inf'"),
        ("helpful,helpful\n1,2\n", {}, "column 'helpful' is there twice"),
        ("helpful;brief\n1;2\n", {}, r"front\.csv: objective 'helpful;brief': the character ';' is not allowed"),
        ("kl,n_prompts\n1,2\n", {}, r"front\.csv: no column of rewards among kl, n_prompts"),
        ("helpful,brief\n1,2\n", {"objectives": ["helpfull"]}, r"unknown column of .*front\.csv 'helpfull': did you mean 'helpful'"),
        ("helpful,brief,weight.breif\n1,2,3\n", {}, "column 'weight.breif': unknown objective 'breif': did you mean 'brief'"),
        ("helpful,brief,breif.se\n1,2,3\n", {}, "column 'breif.se': unknown objective 'breif'"),
        ("helpful,brief,weight.helpful,weight.brief\n1,2,0.5,\n", {}, r"csv:2: column 'weight\.brief' is empty while other weights"),
        ("helpful,brief,brief.se\n1,2,-1\n", {}, r"front\.csv:2: standard_error must be at least 0"),
        ("helpful,brief,n_prompts\n1,2,2.5\n", {}, r"front\.csv:2: column 'n_prompts' must hold whole numbers, found '2\.5'"),
        ("helpful,brief,n_prompts\n1,2,0\n", {}, r"front\.csv:2: n_prompts must be a whole number of at least 1"),
        ("helpful,brief\n1,2\n", {"minimize": ("latency",)}, "unknown objective in minimize 'latency'"),
        ('helpful,brief\n1,"2\n', {}, r"front\.csv: cannot be read"),
    ],
)  # fmt: skip
def test_refuses_and_says_where(write, text, options, message):
    with pytest.raises(InputError, match=message):
        ParetoFront.from_csv(write(text), **options)


def test_refuses_what_is_no_text(tmp_path):
    (tmp_path / "front.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"front\.csv: cannot be read"):
        ParetoFront.from_csv(tmp_path / "front.csv")
    with pytest.raises(InputError, match=r"missing\.csv: cannot be read: No such file"):
        ParetoFront.from_csv(tmp_path / "missing.csv")


def test_refuses_a_data_frame_and_says_where():
    frame = pd.DataFrame({"helpful": [1.0, 2.0], "brief": [1.0, None]}, index=["a", "b"])
    with pytest.raises(InputError, match=r"row 1 \(index 'b'\): column 'brief' is empty"):
        ParetoFront.from_frame(frame)
    with pytest.raises(InputError, match=r"row 0 \(index 0\): column 'flag' must hold numbers, found True"):
        ParetoFront.from_frame(pd.DataFrame({"helpful": [1.0], "flag": [True]}))
    with pytest.raises(InputError, match="the data frame: no points"):
        ParetoFront.from_frame(pd.DataFrame({"helpful": [], "brief": []}))
