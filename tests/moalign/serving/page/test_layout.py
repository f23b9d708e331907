"""On a screen and on phones, light and dark: nothing sticks out, overlaps, or is too small to read or touch."""

import pytest

pytestmark = pytest.mark.slow  # starts a browser

CHECK = r"""(() => {
  const shown = (e) => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0 && e.checkVisibility(); };
  const name = (e) => `${e.tagName.toLowerCase()}#${e.id}.${e.getAttribute('class')} ${(e.textContent ?? '').slice(0, 30)}`;
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1.5;
  const report = { overflow: document.documentElement.scrollWidth - innerWidth, outside: [], overlaps: [], small: [], touch: [], nameless: [], faint: [] };
  const blocks = [...document.querySelectorAll('h1, h2, p, label, output, button, select, summary, textarea, .words, .figures, .letter, .axes-drawn text, .corner')].filter(shown);
  blocks.forEach((one, i) => {
    const box = one.getBoundingClientRect();
    if (box.left < -0.5 || box.right > innerWidth + 0.5) report.outside.push(name(one));
    blocks.slice(i + 1).forEach((other) => {
      const related = one.contains(other) || other.contains(one);
      if (!related && over(box, other.getBoundingClientRect())) report.overlaps.push(`${name(one)} | ${name(other)}`);
    });
  });
  document.querySelectorAll('body *').forEach((e) => {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (own && shown(e) && parseFloat(getComputedStyle(e).fontSize) < 11 && !e.closest('.badge')) report.small.push(name(e));
  });
  document.querySelectorAll('button, select, summary, textarea, input:not([type=checkbox])').forEach((e) => {
    const box = e.getBoundingClientRect();
    if (shown(e) && (box.height < 39.5 || box.width < 39.5)) report.touch.push(`${name(e)} ${box.width}x${box.height}`);
  });
  document.querySelectorAll('button, select, textarea, input, [role=slider], [role=button]').forEach((e) => {
    const labels = e.labels ? [...e.labels].map((l) => l.textContent).join('') : '';
    if (!(labels || e.getAttribute('aria-label') || e.textContent).trim()) report.nameless.push(name(e));
  });
  // Contrast of text on what lies behind it (WCAG 2.1, 4.5:1), where both are plain colours.
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((s, c, i) => s + c * [0.2126, 0.7152, 0.0722][i], 0);
  document.querySelectorAll('h1, h2, p, label, output, summary, .words, .figures, button').forEach((e) => {
    if (!shown(e) || e.disabled || e.matches('.letter') || e.closest('.outdated')) return;
    let behind = e;
    while (behind && !(rgb(getComputedStyle(behind).backgroundColor)[3] ?? 1)) behind = behind.parentElement;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(rgb(getComputedStyle(behind ?? document.body).backgroundColor))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) report.faint.push(`${name(e)} ${ratio.toFixed(2)}`);
  });
  return report;
})()"""
CLEAN = {"outside": [], "overlaps": [], "small": [], "touch": [], "nameless": [], "faint": []}
LONG = ("helpfulness as a panel of raters judges it", "brevity_in_thousands_of_tokens", "warmth & <kindness>")


def checked(tab):
    found = tab.run(CHECK)
    assert found.pop("overflow") <= 0
    assert found == CLEAN


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1000, 700), (768, 1024), (390, 844), (360, 640)])
def test_everything_has_its_place(tab, three, width, height, dark):
    tab.open(three.url, width, height, dark)
    tab.until("document.querySelector('#front-plot') !== null")
    checked(tab)
    tab.write("#prompt", "what makes a garden quiet ?")
    tab.click("#add-taste")
    tab.click("#ask")
    tab.until("[...document.querySelectorAll('.answer')].every(e => e.dataset.state === 'done')")
    tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    checked(tab)
    tab.click("#as-Python")
    tab.click("#mode-find")
    tab.until("(b => b !== null && !b.disabled)(document.querySelector('#verdict-a'))")
    checked(tab)


@pytest.mark.parametrize("width", [1280, 360])
def test_long_names(tab, serving, width):
    with serving(LONG) as server:
        tab.open(server.url, width)
        tab.until("document.querySelector('#front-plot') !== null")
        checked(tab)


def test_everything_can_be_reached_by_the_tab_key(tab, three):
    tab.open(three.url)
    tab.until("document.querySelector('#front-plot') !== null")
    tab.write("#prompt", "x")
    tab.run("document.body.tabIndex = -1, document.body.focus()")
    reached = []
    for _ in range(40):
        tab.press("Tab")
        found = tab.run(
            "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
        )
        if isinstance(found, str):
            reached.append(found)
    wanted = {
        "mode-explore",
        "mode-find",
        "prompt",
        "ask",
        "triangle",
        "weight-0",
        "weight-1",
        "weight-2",
        "axis-x",
        "add-taste",
    }
    assert wanted <= set(reached), reached
    assert sum(name.startswith("point-") for name in dict.fromkeys(reached)) == 1  # the arrows go from point to point
