"""What is committed is what the sources build, and it needs nothing from elsewhere."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from moalign.serving.routes.page import FOLDER

WEB = Path(__file__).parents[4] / "web"
SOURCES = ("index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.js")


def built():
    return {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}


def test_the_build_is_of_these_sources():
    paths = [p for name in SOURCES for p in ([WEB / name] if (WEB / name).is_file() else (WEB / name).rglob("*"))]
    total = hashlib.sha256()
    for name, path in sorted((p.relative_to(WEB).as_posix(), p) for p in paths if p.is_file()):
        total.update(f"{name}\0".encode())
        total.update(path.read_bytes())
    stored = (FOLDER / "sources.sha256").read_text().strip()
    assert stored == total.hexdigest(), "web/ has changed since the page was built: run `make page`"


def test_building_again_gives_the_same_bytes(tmp_path):
    if shutil.which("npm") is None or not (WEB / "node_modules").is_dir():
        pytest.skip("npm or web/node_modules is missing: `npm ci` in web/ installs what builds the page")
    command = ["npm", "run", "build", "--", "--outDir", str(tmp_path), "--emptyOutDir"]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    again = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert again == built()


def test_small_and_whole():
    files = built()
    assert sum(map(len, files.values())) < 200_000
    html = files["index.html"].decode()
    named = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(named) == 3
    assert all(name.startswith("./") and name.removeprefix("./") in files for name in named)
    assert not re.search(r"<style|style=|<script(?![^>]*\bsrc=)|\bon\w+=", html)  # the policy would refuse it


def test_no_address_of_another_machine():
    for name, content in built().items():
        found = set(re.findall(rb"https?://[^\"'`\s)]+", content))
        # Names of XML's vocabularies, which nobody loads.
        assert all(address.startswith(b"http://www.w3.org/") for address in found), (name, found)
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert not any("resolved" in package for package in lock["packages"].values())
    assert all("integrity" in package for path, package in lock["packages"].items() if path)
