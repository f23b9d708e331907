"""Put MathML where `pymdownx.arithmatex` found TeX, in the pages and in the docstrings alike."""

import html
import logging
import re
from typing import Any

from tex_to_mathml import UnknownTeX, to_mathml

log = logging.getLogger("mkdocs.hooks.formulas")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with each page's HTML."""

    def replace(found: re.Match[str]) -> str:
        tag, kind, tex = found.groups()
        tex = html.unescape(tex)
        try:
            inside = to_mathml(tex, display=kind == "[")
        except UnknownTeX as error:
            log.warning("%s: a formula stays TeX (%s): %s", page.file.src_uri, error, tex)
            inside = f"<code>{html.escape(tex)}</code>"
        return f'<{tag} class="formula">{inside}</{tag}>'

    return FORMULA.sub(replace, content)
