"""The documentation builds without a warning, its links and anchors lead somewhere, and it loads nothing from elsewhere."""

import importlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs")

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # one build for all of them, about 25 seconds


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning (a broken link or anchor, a formula or figure that is not known) fails the build."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "RUN_NOTEBOOKS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return folder


class Page(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    LOADS: ClassVar = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors, self.tags = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        if values.get("id"):
            self.anchors.add(values["id"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and "canonical" not in (values.get("rel") or ""):
            self.loads.append(values.get("href"))
        if tag in self.LOADS and values.get(self.LOADS[tag]):
            self.loads.append(values[self.LOADS[tag]])


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def target(page, link, site):
    """The file that a link leads to."""
    path = unquote(urlsplit(link).path)
    found = page if not path else (site / path.lstrip("/") if path.startswith("/") else page.parent / path)
    return (found / "index.html" if found.is_dir() else found).resolve()


def test_every_link_and_anchor_leads_somewhere(pages, site):
    broken = []
    for page, read in pages.items():
        for link in read.links:
            if urlsplit(link).scheme or page.name == "404.html":
                continue
            there = target(page, link, site)
            anchor = unquote(urlsplit(link).fragment)
            if not there.is_file() or (anchor and there in pages and anchor not in pages[there].anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []
    assert len(pages) > 25


def test_nothing_is_loaded_from_elsewhere(pages, site):
    outside = [(page.name, load) for page, read in pages.items() for load in read.loads if urlsplit(load).netloc]
    assert outside == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), (
            f"{sheet} loads from elsewhere"
        )


def test_every_picture_and_script_is_there(pages, site):
    for page, read in pages.items():
        if page.name != "404.html":
            for load in read.loads:
                assert load.startswith("data:") or target(page, load, site).is_file(), f"{page}: {load}"


def test_files_of_the_repository_stand_in_the_pages(site):
    for page, shown in (("your-own", "def polite("), ("your-own", "def no_regret("), ("scaling", "fsdp_version: 2")):
        text = re.sub(r"<[^>]+>", "", (site / f"guides/{page}/index.html").read_text(encoding="utf-8"))
        assert shown in text, shown


def test_formulas_are_drawn_by_the_browser_itself(site, pages):
    text = (site / "methods/clp/index.html").read_text(encoding="utf-8")
    assert pages[site / "methods/clp/index.html"].tags.count("math") > 3
    assert "arithmatex" not in text
    assert r"\max_\theta" not in text


def test_the_types_of_arguments_come_from_the_signatures(site):
    text = (site / "reference/policies/index.html").read_text(encoding="utf-8")
    assert "samples_per_prompt" in text
    assert "(`int`)" not in text
    assert "*optional*" not in text


def test_measured_figures_are_those_of_the_results(site):
    rows = json.loads((ROOT / "benchmarks/results/2-core-x86_64-CPU/oracle.json").read_text(encoding="utf-8"))["rows"]
    value = {row["id"]: row["value"] for row in rows}["clp.gain.mean.covered.beta0.3"]
    assert f"{value:.3f} of the possible gain" in (site / "methods/index.html").read_text(encoding="utf-8")


def test_every_method_has_a_page_with_its_settings(site):
    from moalign.cli.methods import METHODS

    for name, method in METHODS.items():
        text = (site / f"methods/{name}/index.html").read_text(encoding="utf-8")
        assert method.config.rpartition(":")[2] in text or name == "rewarded_soups"
        assert f"moalign train {name}" in re.sub(r"<[^>]+>", "", text)


def test_every_public_name_is_in_the_reference(site):
    anchors = "\n".join(p.read_text(encoding="utf-8") for p in (site / "reference").rglob("index.html"))
    for package in ("moalign", "reward_heads", "frontier"):
        for name in importlib.import_module(package).__all__:
            if name not in ("__version__", "rules"):
                assert re.search(rf'id="[\w.]*\b{name}"', anchors), f"the reference lacks {package}.{name}"
