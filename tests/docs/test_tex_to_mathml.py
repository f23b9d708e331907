"""docs/hooks/tex_to_mathml.py: formulas as browsers draw them."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs/hooks"))

from tex_to_mathml import UnknownTeX, to_mathml  # noqa: E402


def read(tex, display=False):
    """The formula as text, having checked that it is well-formed XML."""
    parts = ElementTree.fromstring(f"<all>{to_mathml(tex, display).replace('&nbsp;', ' ')}</all>")
    assert {part.tag for part in parts} == {"math"}
    return parts


def test_a_fraction_with_scripts_by_hand():
    assert to_mathml(r"\frac{a_1}{b^2}") == (
        "<math><mrow><mfrac><mrow><msub><mi>a</mi><mn>1</mn></msub></mrow>"
        "<mrow><msup><mi>b</mi><mn>2</mn></msup></mrow></mfrac></mrow></math>"
    )


def test_limits_stand_under_a_sum_only_on_a_line_of_its_own():
    assert read(r"\sum_k w_k", display=True).find(".//munder") is not None
    assert read(r"\sum_k w_k").find(".//munder") is None
    assert read(r"\sum_{k=1}^K", display=True).find(".//munderover") is not None


def test_a_wide_space_lets_a_long_formula_go_on_below():
    assert len(read(r"a = b, \quad c = d \qquad e", display=True)) == 3
    assert len(read(r"\frac{a \quad b}{c}", display=True)) == 1


def test_text_keeps_its_spaces_and_is_escaped():
    assert "if&nbsp;a&nbsp;&lt;&nbsp;b" in to_mathml(r"\text{if a < b}")


def test_cases_have_rows_and_cells():
    table = read(r"f = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}")
    assert [len(row) for row in table.iter("mtr")] == [2, 2]


def test_braces_are_drawn_where_they_are_escaped():
    assert "".join(read(r"\{a\}").itertext()) == "{a}"


@pytest.mark.parametrize("tex", [r"\notacommand{x}", r"\frac{a}", r"{a", "a}", r"\left( a", r"\text{a"])
def test_what_is_not_known_is_refused_instead_of_dropped(tex):
    with pytest.raises(UnknownTeX):
        to_mathml(tex)


def formulas():
    for package in ("moalign", "reward_heads", "frontier"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                    for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", text, re.DOTALL):
                        yield path, block, inline


def test_every_formula_of_every_docstring_is_understood():
    found, refused = 0, []
    for path, block, inline in formulas():
        found += 1
        try:
            read(block or inline, bool(block))
        except UnknownTeX as error:
            refused.append(f"{path.relative_to(ROOT)}: {error}")
    assert found > 500
    assert refused == []
