"""Every page in a real browser, on a screen and on a phone: drawn, without errors, nothing loaded, nothing overlapping, nothing too small to read or touch."""

import dataclasses
import http.server
import itertools
import json
import shutil
import subprocess
import threading

import numpy as np
import pytest

from frontier import FrontPoint, ParetoFront, front_page
from frontier.plot.comparison_page import comparison_page
from frontier.plot.history_page import history_page
from frontier.prompt_rewards import PromptRewards

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,  # one launch, some 20 pages of 5 MB
    pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on this machine"),
]

SHORT = ("helpful", "brief", "warm", "safe", "fair")
LONG = (
    "helpfulness as a panel of careful raters judges it",
    "brevity_in_thousands_of_tokens_that_nobody_had_to_read",
    "warmth & <kindness> towards people in distress",
    "honesty about what is not known",
)
EVIL = "<img src=x onerror=alert(1)><a href='javascript:alert(2)'>a</a></script><script>alert(3)</script>"
WIDTHS = {"screen": 1200, "phone": 390}


def front_of(names, partitions=3, best=1.0, prompts=24, kept=False):
    """Steered points (with rewards per prompt where `kept`) on a concave front, and one that all others dominate."""
    k = len(names)
    rng = np.random.default_rng(k)
    lattice = [w for w in itertools.product(range(partitions + 1), repeat=k) if sum(w) == partitions]
    rows = [best * np.sqrt(np.array(w) / partitions + 0.01) + rng.normal(0, 0.15, (prompts, k)) for w in lattice]
    rows.append(np.full((prompts, k), -0.3) + rng.normal(0, 0.1, (prompts, k)))
    points = []
    for i, rewards in enumerate(rows):
        asked = (
            None
            if i == len(lattice)
            else {"weights": dict(zip(names, (np.array(lattice[i]) / partitions).tolist(), strict=True))}
        )
        error = rewards.std(axis=0, ddof=1) / np.sqrt(prompts)
        points.append(FrontPoint(rewards.mean(axis=0), error, prompts, asked, extra={"sample": f"{EVIL} {i}"}))
    scores = PromptRewards(tuple(names), np.array(rows), tuple(f"p{j}" for j in range(prompts)))
    return ParetoFront(
        tuple(names),
        tuple(points),
        FrontPoint([-0.1] * k, [0.02] * k, prompts),
        prompt_rewards=scores if kept else None,
    )


def write_pages(folder):
    """name -> how many plots it shows."""
    pages = {}

    def add(name, plots, write, *args, **kwargs):
        write(*args, path=folder / f"{name}.html", **kwargs)
        pages[name] = plots

    one = front_of(SHORT[:2], 1)
    one = dataclasses.replace(one, points=one.points[:1])
    two = front_of(SHORT[:2], 5, kept=True)
    # Two objectives: the front and two steering curves. Three: space, triangle, three pairs, three curves. Four: lines, six pairs, four curves.
    add("two", 3, front_page, two, picks={"knee": 2}, title=f"Two {EVIL}")
    add("three", 8, front_page, front_of(SHORT[:3]), picks={"knee": 3, "balanced": 4})
    add("four", 11, front_page, front_of(LONG), title="A long title " * 12)
    add("one", 1, front_page, one)
    add("forty", 3, front_page, front_of(SHORT[:2], 39))
    fronts = {"the steerable policy, trained once": front_of(LONG[:2], 5), f"soups {EVIL}": front_of(LONG[:2], 3, 0.8)}
    add("fronts", 3, front_page, fronts, title="Two fronts with long names")
    add("long-three", 8, front_page, front_of(LONG[:3], 2), picks={EVIL: 1})
    steps = np.arange(0, 2000, 100)
    grown = 1 - np.exp(-steps / 500)
    runs = {"steerable": (steps, grown, grown - 0.1, grown + 0.1), f"soups {EVIL}": (steps, 0.8 * grown)}
    add("history", 1, history_page, runs, note="Reference point: helpful 0, brief 0")
    add(
        "comparison-two",
        4,
        comparison_page,
        two,
        front_of(SHORT[:2], 5, 0.95, kept=True),
        labels=("steerable", f"soups {EVIL}"),
    )
    add("comparison-three", 9, comparison_page, front_of(LONG[:3], 2), front_of(LONG[:3], 2, 0.95))
    return pages


# Written into every page before its own scripts: what goes wrong is kept, whoever reports it.
WATCH = """<script>
window.problems = [];
addEventListener('error', function (e) { problems.push('error: ' + (e.message || e.target.src)); }, true);
addEventListener('unhandledrejection', function (e) { problems.push('rejection: ' + e.reason); });
addEventListener('securitypolicyviolation', function (e) { problems.push('load: ' + e.violatedDirective + ' ' + e.blockedURI); });
['error', 'warn'].forEach(function (kind) { console[kind] = function () { problems.push(kind + ': ' + Array.from(arguments).join(' ')); }; });
window.alert = function (text) { problems.push('injected: ' + text); };
</script>"""

# What is asked of every page once it has drawn itself.
CHECK = r"""
function boxes(scope, selector) {
  return Array.from(scope.querySelectorAll(selector)).filter(function (e) { return e.textContent.trim() && e.getBoundingClientRect().width > 0; });
}
function overlap(a, b) {
  var x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return x > 1.5 && y > 1.5;
}
// Two frames and a little: what was asked for is drawn by then.
function settled(w) {
  return new Promise(function (done) { w.requestAnimationFrame(function () { w.requestAnimationFrame(function () { setTimeout(done, 60); }); }); });
}
async function check(frame) {
  var w = frame.contentWindow, d = frame.contentDocument, report = {};
  d.querySelectorAll('details.more').forEach(function (more) { more.open = true; });
  await settled(w);
  report.folded = Array.from(d.querySelectorAll('details.more .plot')).filter(function (p) { return !p.querySelector('.main-svg'); }).length;
  d.querySelectorAll('details.more').forEach(function (more) { more.open = false; });
  var shown = Array.from(d.querySelectorAll('.plot')).filter(function (p) { return !p.closest('details'); });
  report.drawn = shown.filter(function (p) { return p.querySelector('svg.main-svg .xtick text, svg.main-svg .annotation-text, .gl-container canvas'); }).length;
  report.plots = shown.length;
  report.overflow = d.documentElement.scrollWidth - w.innerWidth;
  report.overlaps = []; report.outside = []; report.small = []; report.touch = [];
  shown.forEach(function (plot) {
    var texts = boxes(plot, '.xtick text, .ytick text, .xtitle, .ytitle, .annotation-text'), frame = plot.getBoundingClientRect();
    texts.forEach(function (one, i) {
      var box = one.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) { report.outside.push(plot.id + ': ' + one.textContent); }
      texts.slice(i + 1).forEach(function (other) {
        if (overlap(box, other.getBoundingClientRect())) { report.overlaps.push(plot.id + ': ' + one.textContent + ' | ' + other.textContent); }
      });
    });
  });
  var blocks = boxes(d, 'h1, h2, h3, .note, ul.legend li, figcaption, figure > .plot, .wide, #weights label, #best').filter(function (e) { return !e.closest('details.more'); });
  blocks.forEach(function (one, i) {
    blocks.slice(i + 1).forEach(function (other) {
      if (!one.contains(other) && overlap(one.getBoundingClientRect(), other.getBoundingClientRect())) { report.overlaps.push(one.textContent.slice(0, 40) + ' | ' + other.textContent.slice(0, 40)); }
    });
  });
  boxes(d, 'main *').forEach(function (e) {
    var own = Array.from(e.childNodes).some(function (n) { return n.nodeType === 3 && n.textContent.trim(); });
    if (own && parseFloat(w.getComputedStyle(e).fontSize) < 11) { report.small.push(e.tagName + ' ' + e.textContent.slice(0, 40)); }
  });
  d.querySelectorAll('button, input, summary').forEach(function (e) {
    var box = e.getBoundingClientRect();
    if (box.width && (box.height < 39.5 || box.width < 39.5)) { report.touch.push(e.tagName + ' ' + e.textContent.slice(0, 30) + ' ' + box.width + 'x' + box.height); }
  });
  report.markup = d.querySelectorAll('img, main script, a[href]').length;
  report.scroll = Array.from(d.querySelectorAll('.wide')).some(function (e) { return e.scrollWidth > e.clientWidth; });
  report.axes = boxes(d, '.xtitle, .ytitle').map(function (e) { return e.textContent; });
  var slider = d.querySelector('#weights input');
  if (slider) {
    var look = async function (value) {
      slider.focus();
      slider.value = value;
      slider.dispatchEvent(new w.Event('input', { bubbles: true }));
      await settled(w);
      var line = d.querySelector('#front-pair .shapelayer path, #front-pair .layer-below path');
      var best = null;
      d.querySelectorAll('.plot').forEach(function (p) {
        (p.data || []).forEach(function (t) { if (t.meta === 'best' && best === null) { best = [].concat(t.x, t.y); } });
      });
      return {
        line: line && line.getAttribute('d'), best: best, name: d.getElementById('best-name').textContent,
        row: d.querySelector('tr.best') && d.querySelector('tr.best').id, focused: d.activeElement === slider,
        ends: (function () { var p = d.getElementById('front-pair'); return p && p.layout.shapes.length ? Object.assign({}, p.layout.shapes[0]) : null; })()
      };
    };
    report.low = await look('0.05');
    report.high = await look('0.95');
  }
  var point = shown.find(function (p) { return p.data && p.data.some(function (t) { return t.hovertext && t.customdata && t.type === 'scatter'; }); });
  if (point) {
    var curve = point.data.findIndex(function (t) { return t.hovertext && t.customdata && t.type === 'scatter'; });
    point.scrollIntoView();
    w.Plotly.Fx.hover(point, [{ curveNumber: curve, pointNumber: 0 }]);
    await settled(w);
    var label = point.querySelector('.hoverlayer'), around = label.getBoundingClientRect();
    report.hover = label.textContent;
    report.hoverFits = around.left > -2 && around.right < w.innerWidth + 2;
    report.hoverLinks = label.querySelectorAll('a').length;
    point.emit('plotly_click', { points: [{ customdata: point.data[curve].customdata[0], hovertext: point.data[curve].hovertext[0] }] });
    report.chosen = d.getElementById('chosen').textContent;
    report.marked = (d.querySelector('tr.marked') || {}).id;
    d.querySelector('#points th:nth-child(2) button').click();
    report.sorted = d.querySelector('#points th:nth-child(2)').getAttribute('aria-sort');
  }
  var hide = d.querySelector('button[data-front]');
  if (hide) { hide.click(); await settled(w); report.hidden = shown.some(function (p) { return p.data && p.data.some(function (t) { return t.visible === false; }); }); }
  report.problems = w.problems;
  return report;
}
(async function () {
  var reports = {};
  for (const [name, width] of FRAMES) {
    var frame = document.createElement('iframe');
    frame.style = 'border:0;height:1600px;width:' + width + 'px';
    frame.src = name + '.html';
    await new Promise(function (done) { frame.onload = done; document.body.append(frame); });
    await settled(frame.contentWindow);
    try { reports[name + ' ' + width] = await check(frame); } catch (error) { reports[name + ' ' + width] = { failed: String(error.stack) }; }
    frame.remove();
  }
  await fetch('report', { method: 'POST', body: JSON.stringify(reports) });
})();
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """(name, width) -> what the checks found: one launch of the browser for all pages, which it gets from this process and from nowhere else."""
    folder = tmp_path_factory.mktemp("pages")
    pages = write_pages(folder)
    frames = [(name, width) for name in pages for width in WIDTHS.values()]
    arrived, found, asked = threading.Event(), {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/")
            asked.append(name)
            if name == "all":
                content = f"<!doctype html><body><script>var FRAMES = {json.dumps(frames)};{CHECK}</script>"
            elif name.removesuffix(".html") in pages:
                text = (folder / name).read_text(encoding="utf-8")
                content = text.replace('<meta charset="utf-8">', '<meta charset="utf-8">' + WATCH, 1)
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            if name != "all":
                # plotly draws its view in space with functions that it writes itself.
                self.send_header(
                    "Content-Security-Policy",
                    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:",
                )
            self.end_headers()
            self.wfile.write(content.encode())

        def do_POST(self):
            found.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            arrived.set()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu-sandbox",
        "--enable-unsafe-swiftshader",
        "--no-first-run",
        "--disable-background-networking",
    ]
    command += [
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        "--window-size=1300,1700",
        "--remote-debugging-port=0",
    ]
    with open(folder / "browser.log", "w") as log:
        browser = subprocess.Popen([*command, f"http://127.0.0.1:{server.server_port}/all"], stdout=log, stderr=log)
        try:
            # A minute on two idle cores; the views in space are drawn without a GPU, and other tests run beside.
            done = arrived.wait(900)
        finally:
            browser.terminate()
            browser.wait(120)
            server.shutdown()
            server.server_close()
    assert done, f"the browser reported nothing: {(folder / 'browser.log').read_text()[-2000:]}"
    assert set(asked) <= {"all", "favicon.ico", *(f"{name}.html" for name in pages)}
    return {
        (name, kind): found[f"{name} {width}"] | {"expected": pages[name]}
        for name in pages
        for kind, width in WIDTHS.items()
    }


NAMES = (
    "two",
    "three",
    "four",
    "one",
    "forty",
    "fronts",
    "long-three",
    "history",
    "comparison-two",
    "comparison-three",
)
everywhere = pytest.mark.parametrize(("name", "kind"), list(itertools.product(NAMES, WIDTHS)))


@everywhere
def test_drawn_without_errors_and_without_loading_anything(reports, name, kind):
    report = reports[name, kind]
    assert report.get("failed") is None
    assert report["problems"] == []
    assert report["drawn"] == report["plots"] == report["expected"]
    assert report["folded"] == 0  # drawn as soon as it is unfolded


@everywhere
def test_laid_out_for_the_width(reports, name, kind):
    report = reports[name, kind]
    assert report["overflow"] <= 0
    assert report["overlaps"] == []
    assert report["outside"] == []
    assert report["small"] == []
    if kind == "phone":
        assert report["touch"] == []


@everywhere
def test_nothing_injected(reports, name, kind):
    report = reports[name, kind]
    assert report["markup"] == 0
    assert report.get("hoverLinks", 0) == 0


@everywhere
def test_axes_say_units_and_direction(reports, name, kind):
    rewards = [text for text in reports[name, kind]["axes"] if "reward" in text or "hypervolume" in text]
    assert rewards or name.endswith("three")
    assert all("higher is better" in text and "unit" in text for text in rewards)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("one", "history")])
@pytest.mark.parametrize("kind", WIDTHS)
def test_slider_moves_the_ring_and_names_the_row(reports, name, kind):
    low, high = reports[name, kind]["low"], reports[name, kind]["high"]
    assert low["best"] != high["best"]
    assert low["row"] != high["row"]
    for state in (low, high):
        assert f"point {state['row'].split('-')[1]}," in state["name"]
        assert state["focused"]


@pytest.mark.parametrize("kind", WIDTHS)
def test_iso_line_passes_through_the_best_point_at_right_angles_to_the_weights(reports, kind):
    lines = []
    for state, w in ((reports["two", kind]["low"], (0.05, 0.95)), (reports["two", kind]["high"], (0.95, 0.05))):
        line = state["ends"]
        start, end = np.array([line["x0"], line["y0"]]), np.array([line["x1"], line["y1"]])
        assert abs((end - start) @ w) < 1e-9
        assert abs((np.array(state["best"]) - start) @ w) < 1e-9
        lines.append(state["line"])
    assert lines[0]
    assert lines[0] != lines[1]


@pytest.mark.parametrize("kind", WIDTHS)
def test_hover_and_click(reports, kind):
    report = reports["two", kind]
    assert "weights: helpful 0.00, brief 1.00" in report["hover"]
    assert "±" in report["hover"]
    assert "<img src=x onerror" in report["hover"]  # the sample, as text
    assert report["hoverFits"]
    assert "<img src=x onerror" in report["chosen"]
    assert report["marked"] == "p0-0"
    assert report["sorted"] == "ascending"


@pytest.mark.parametrize("name", ["fronts", "history", "comparison-two", "comparison-three"])
def test_legend_hides_a_front(reports, name):
    assert reports[name, "screen"]["hidden"]
