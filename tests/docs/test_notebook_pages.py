"""docs/hooks/notebook_pages.py and run_notebook.py: a notebook becomes a page, with its outputs where it is run."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient")

import nbformat
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs/hooks"))

from notebook_pages import page  # noqa: E402
from run_notebook import execute  # noqa: E402


@pytest.fixture
def notebook(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("# A title"),
        nbformat.v4.new_code_cell("import sys\nprint('two:', 1 + 1)\nprint('a warning', file=sys.stderr)"),
        nbformat.v4.new_code_cell("open('here.txt', 'w').write(sys.executable)"),
    ]
    path = tmp_path / "example.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_without_outputs_the_page_has_text_code_and_a_download(notebook):
    text = page(notebook, {})
    assert text.startswith("# A title\n\n[Download this notebook](example.ipynb)")
    assert "```python\nimport sys\nprint('two:', 1 + 1)" in text
    assert "two: 2" not in text


def test_run_it_has_what_was_printed_and_no_warnings(notebook):
    text = page(notebook, {}, run=True)
    assert "```text\ntwo: 2\n```" in text
    assert "\na warning" not in text


def test_runs_in_the_folder_with_this_python_and_leaves_the_file_alone(notebook, tmp_path):
    before = notebook.read_text()
    (tmp_path / "run").mkdir()
    execute(notebook, tmp_path / "run")
    assert (tmp_path / "run/here.txt").read_text() == sys.executable
    assert notebook.read_text() == before


def test_a_picture_becomes_a_file(notebook):
    drawn = nbformat.read(notebook, as_version=4)
    output = nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"})
    drawn.cells[1].outputs = [output]
    nbformat.write(drawn, notebook)
    pictures = {}
    assert "![Output of the cell above](example-0.png)" in page(notebook, pictures)
    assert pictures["example-0.png"].startswith(b"\x89PNG")


def test_a_cell_that_fails_is_not_hidden(tmp_path):
    path = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), path)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(path, tmp_path)
