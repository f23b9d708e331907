"""Serve the page at `/`: what `web/` builds, read once at start, so that no path of a request ever reaches the disk."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response

from moalign.serving.errors import ApiError
from moalign.serving.service import Service

# Where `npm run build` in `web/` leaves its output.
FOLDER = Path(__file__).parents[1] / "page"
# Nothing from elsewhere, nothing inline, no frame around the page, no form that leaves it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    # Names stay the same from release to release: a browser asks each time, and is mostly told that nothing changed.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Not from the operating system's table, which on some machines calls scripts plain text.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Args:
        content (`bytes`): all of it.
        media_type (`str`): what it is.
    """

    content: bytes
    media_type: str

    @property
    def etag(self) -> str:
        """The same for the same content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def response(self, known: str | None) -> Response:
        """The file, or 304 where `If-None-Match` names what the browser has already."""
        headers = {**HEADERS, "ETag": self.etag}
        tags = {tag.strip().removeprefix("W/") for tag in (known or "").split(",")}
        if tags & {self.etag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def add_routes(app: FastAPI, _: Service) -> None:
    """`GET /` and `GET /page/{name}`, which need no key: the page asks for one when the API does."""
    files = page_files(FOLDER)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False, response_class=Response)
    async def page(request: Request) -> Response:
        return _found(files, "index.html", request)

    @app.api_route("/page/{name:path}", methods=["GET", "HEAD"], include_in_schema=False, response_class=Response)
    async def part(name: str, request: Request) -> Response:
        return _found(files, f"page/{name}", request)


def page_files(folder: Path) -> dict[str, PageFile]:
    """Path below the folder -> the file; files of other kinds than a page's are left out."""
    return {
        path.relative_to(folder).as_posix(): PageFile(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.suffix in TYPES
    }


def _found(files: dict[str, PageFile], name: str, request: Request) -> Response:
    if name not in files:
        built = "" if files else "; this installation has no page: run `make page` and start the server again"
        raise ApiError(404, f"there is no file {name!r}{built}", None, "not_found")
    return files[name].response(request.headers.get("if-none-match"))
