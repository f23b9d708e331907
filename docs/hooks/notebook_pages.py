"""Make a page of every notebook. The files hold no outputs; with RUN_NOTEBOOKS=true the site is built with theirs, which takes a few minutes."""

import base64
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Called by mkdocs with the files that it found."""
    run = os.environ.get("RUN_NOTEBOOKS", "false").lower() == "true"
    for found in [f for f in files if f.src_uri.endswith(".ipynb")]:
        path, uri = Path(config.docs_dir) / found.src_uri, found.src_uri.removesuffix(".ipynb")
        pictures: dict[str, bytes] = {}
        files.append(File.generated(config, f"{uri}.md", content=page(path, pictures, run)))
        for name, data in pictures.items():
            files.append(File.generated(config, f"{Path(uri).parent}/{name}", content=data))
    return files


def page(path: Path, pictures: dict[str, bytes], run: bool = False) -> str:
    """The notebook as Markdown; its pictures go into `pictures` by file name."""
    if run:
        from run_notebook import execute

        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, folder)
    else:
        notebook = nbformat.read(path, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [_output(o, f"{path.stem}-{len(pictures)}.png", pictures) for o in cell.get("outputs", [])]
    if parts:
        parts.insert(1, f"[Download this notebook]({path.name}){{ .md-button }}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _output(output: Any, name: str, pictures: dict[str, bytes]) -> str:
    """A picture or text; what went to stderr is left out."""
    data = output.get("data", {})
    if "image/png" in data:
        pictures[name] = base64.b64decode(data["image/png"])
        return f"![Output of the cell above]({name})"
    text = output.get("text", "") if output.get("name") == "stdout" else data.get("text/plain", "")
    return f'<div class="notebook-output" markdown>\n\n```text\n{text.rstrip()}\n```\n\n</div>' if text.strip() else ""
