import httpx
import pytest

from moalign.serving.access import Access
from moalign.serving.access.policy_file import add_key
from moalign.serving.routes.page import FOLDER, page_files


@pytest.fixture(scope="module")
def locked(start_server, policy, tmp_path_factory):
    path = tmp_path_factory.mktemp("access") / "keys.yaml"
    add_key(path, "alice")
    with start_server(policy, access=Access(path)) as server:
        yield server


def get(server, path, **options):
    # Below httpx's own tidying of paths: what is sent is what is written here.
    return httpx.request(options.pop("method", "GET"), server.url + path, timeout=60, **options)


@pytest.mark.parametrize(
    ("path", "kind", "file"),
    [
        ("/", "text/html; charset=utf-8", "index.html"),
        ("/page/page.js", "text/javascript; charset=utf-8", "page/page.js"),
        ("/page/page.css", "text/css; charset=utf-8", "page/page.css"),
        ("/page/icon.svg", "image/svg+xml", "page/icon.svg"),
    ],
)
def test_files_come_whole_with_their_types_and_need_no_key(locked, path, kind, file):
    found = get(locked, path)
    assert found.status_code == 200
    assert found.headers["content-type"] == kind
    assert found.content == (FOLDER / file).read_bytes()
    head = get(locked, path, method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(found.content))
    assert get(locked, "/v1/models").status_code == 401


def test_nothing_inline_and_nothing_from_elsewhere_may_run(server):
    headers = get(server, "/").headers
    rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert rules["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_browser_that_has_it_is_told_so(server):
    first = get(server, "/page/page.js")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = get(server, "/page/page.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert get(server, "/page/page.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert get(server, "/page/page.css").headers["etag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/nothing.js",
        "/page/index.html",
        "/page/page",
        "/page/../index.html",
        "/page/..%2findex.html",
        "/page/%2e%2e/%2e%2e/api.py",
        "/page//etc/passwd",
        "/page/..%5c..%5capi.py",
        "/page/page.js%00.css",
        "/sources.sha256",
    ],
)
def test_no_path_leads_elsewhere(server, path):
    import http.client

    host = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    host.putrequest("GET", path, skip_host=False)
    host.endheaders()
    found = host.getresponse()
    content = found.read()
    host.close()
    assert found.status == 404
    assert found.headers["content-type"] == "application/json"
    assert b'"error"' in content
    assert b"import" not in content


def test_other_methods_are_refused(server):
    assert get(server, "/", method="POST").status_code == 405


def test_an_installation_without_the_build_says_what_to_do(server, tmp_path, monkeypatch, start_server, policy):
    assert page_files(tmp_path) == {}
    monkeypatch.setattr("moalign.serving.routes.page.FOLDER", tmp_path)
    with start_server(policy) as bare:
        found = get(bare, "/")
        assert found.status_code == 404
        assert "make page" in found.json()["error"]["message"]
