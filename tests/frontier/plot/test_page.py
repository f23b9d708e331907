import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from frontier import InputError, front_page


class Page(HTMLParser):
    """The ids, table rows, text and loaded resources of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.loads, self.rows, self.tags = [], [], 0, []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids.append(attrs.get("id"))
        self.loads += [attrs[a] for a in ("src", "href", "data", "srcset") if a in attrs]
        self.rows += tag == "tr"

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def read_page(tmp_path):
    def read(*args, **kwargs):
        path = front_page(args[0], tmp_path / "new" / "front.html", *args[1:], **kwargs)
        assert [p.name for p in path.parent.iterdir()] == ["front.html"]
        text = path.read_text(encoding="utf8")
        library = get_plotlyjs()
        assert library in text  # inlined: it works offline
        return Page(text.replace(library, "")), text.replace(library, "")

    return read


PLOTS = {
    2: {"front-pair", "front-steering"},
    3: {"front-space", "front-projections", "front-steering"},
    4: {"front-parallel", "front-projections", "front-steering"},
}


@pytest.mark.parametrize("k", [2, 3, 4])
def test_page(make_front, read_page, k):
    front = make_front(k, 2)
    page, text = read_page(front, title="Fronts & <more>", picks={"knee": 1})
    assert {i for i in page.ids if i and i.startswith("front-")} == PLOTS[k]
    assert ("colour-key" in page.ids) == (k == 3)
    assert page.loads == []
    assert not re.search(r"url\(\s*['\"]?https?:", text)
    assert not re.search(r"@import|fetch\(|import\(", text)
    for name in front.objectives:
        assert name in page.text
    assert "Fronts & <more>" in page.text  # escaped in the source, so that it reads as given
    assert "<more>" not in text
    assert "Hypervolume above the reference point" in page.text


def test_every_point_has_a_row_that_a_click_finds(make_front, read_page):
    front = make_front(2)
    page, text = read_page({"steerable": front, "soups": make_front(2, best=0.5)})
    rows = [i for i in page.ids if i and re.fullmatch(r"p\d+-\d+", i)]
    assert rows == [f"p{number}-{i}" for number in range(2) for i in range(len(front.points))]
    for row in rows:
        assert f'"{row}"' in text  # the customdata of the traces
    # Summary: heading, two fronts, reference. Points: heading, rows, reference.
    assert page.rows == 4 + 1 + len(rows) + 1


def test_samples_are_shown_and_cannot_break_out(make_front, read_page):
    page, _ = read_page(make_front(2))
    assert "asked 0.25" in page.text
    assert "b" not in page.tags  # the sample's own markup stays text
    assert page.tags.count("script") == 3  # plotly.js, the content, the page's own: none was closed early


def test_given_samples(make_front, read_page):
    page, text = read_page(make_front(2), [f"reply number {i}" for i in range(6)])
    assert "reply number 5" in page.text
    assert "asked 0.25" not in text


def test_long_samples_fold(make_front, read_page):
    long = "word " * 200
    page, _ = read_page(make_front(2), [long, *[None] * 5])
    assert page.tags.count("details") == 1 + 1  # the sample, and the steering curves of other objectives
    assert long in page.text


def test_a_refusal_leaves_nothing(make_front, tmp_path):
    with pytest.raises(InputError):
        front_page(make_front(2), tmp_path / "f.html", colour_by="nothing")
    assert list(tmp_path.iterdir()) == []


def test_what_prompt_rewards_add(measured, read_page):
    page, _ = read_page(measured(2, 0))
    assert "P(non-dominated)" in page.text
    assert "95 % intervals over prompts" in page.text
    bare, _ = read_page(dataclasses.replace(measured(2, 0), prompt_rewards=None))
    assert "P(non-dominated)" not in bare.text
    assert "95 % intervals over prompts" not in bare.text


def test_content_is_json_that_the_script_can_read(make_front, read_page):
    _, text = read_page({"a</script>": make_front(3), "b": make_front(3, best=0.5)})
    written = re.search(r'id="content">(.*?)</script>', text, re.S).group(1)
    content = json.loads(written)
    assert content["labels"] == ["a</script>", "b"]
    assert content["front"]["layers"][0]["weights"][-1] is None  # asked for nothing
    assert set(content["plots"]) >= {"front-space", "colour-key", "pair-0-1", "steering-0-0"}
    places = re.findall(r'class="plot" id="([^"]+)"', text)
    assert sorted(places) == sorted(content["plots"])


def test_a_slider_for_two_objectives_and_one_each_for_more(make_front, read_page):
    for k, sliders in ((2, 1), (3, 3), (4, 4)):
        page, _ = read_page(make_front(k, 2))
        assert page.tags.count("input") == sliders
        assert page.tags.count("label") == sliders


def test_texts_that_utf8_can_not_hold(make_front, tmp_path):
    fronts = {"\ud800": make_front(2), 1: make_front(2)}
    path = front_page(fronts, tmp_path / "f.html", ["\udfff cut", *[None] * 5], title="\ud83d", picks={"\ud800": 0})
    text = path.read_text(encoding="utf8")
    assert "\ufffd cut" in text
    assert "<h1>\ufffd</h1>" in text
