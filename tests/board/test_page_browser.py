"""The page in a real browser: it sorts, filters, opens a cell, is silent on the console, asks nobody."""

from __future__ import annotations

import shutil

import pytest
from polling import BOUND_S

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on the path (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=CHROMIUM, args=ARGS, timeout=1000 * BOUND_S)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser, page_text, tmp_path):
    """The sample's page, opened; fails afterwards if anything was said on the console or asked for."""
    path = tmp_path / "index.html"
    path.write_text(page_text, encoding="utf-8")
    said, asked = [], []
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(1000 * BOUND_S)
    tab.on("console", lambda m: said.append(m.text))
    tab.on("pageerror", lambda e: said.append(str(e)))
    tab.on("dialog", lambda d: said.append(f"a script ran: {d.message}"))
    tab.on("request", lambda r: asked.append(r.url))
    tab.goto(path.as_uri())
    yield tab
    assert said == []
    assert asked == [path.as_uri()]
    tab.close()


def names(tab, table=0):
    return tab.locator("table.board").nth(table).locator("tbody tr:not([hidden]) th.name").all_inner_texts()


def test_sorts_by_a_task_both_ways_and_back(tab):
    before = names(tab)
    head = tab.locator("table.board").first.locator("thead th", has_text="flights-10x")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names(tab)[0].startswith("Multi-embedding · DCNv2")
    assert "alert(1)" in names(tab)[-1]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert names(tab)[0] == "Prior"
    assert "alert(1)" in names(tab)[-1]  # a row without a value stays last either way
    head.locator("button").click()
    assert names(tab) == before


def test_filters_rows_and_says_how_many(tab):
    tab.get_by_label("Filter rows").fill("dnn multi")
    assert names(tab) == ["Multi-embedding · DNN paper"]
    assert names(tab, 1) == []
    assert tab.locator("[data-shown]").inner_text() == "1 of 9 rows"
    tab.get_by_label("Filter rows").fill("")
    assert len(names(tab)) == 8


def test_opens_a_failed_cell_with_the_keyboard_and_shows_its_last_lines(tab):
    cell = tab.locator("tr", has_text="Single · DNN").first.locator("button.cell").last
    cell.focus()
    tab.keyboard.press("Enter")
    panel = tab.locator("#panel")
    assert panel.is_visible()
    assert tab.locator("#panel-title").inner_text() == "Single · DNN on flights-10x"
    first = panel.locator(".seed").first
    assert "failed" in first.inner_text()
    assert "</script><img src=x>" in first.inner_text()
    assert "epoch 29: loss 0.0333 </script>" in first.inner_text()
    assert "bench show" in first.inner_text()
    assert panel.locator("img").count() == 0
    first.locator("summary", has_text="hyper-parameters").click()
    assert "0.001" in first.inner_text()
    tab.keyboard.press("Escape")
    assert not panel.is_visible()
    assert tab.evaluate("document.activeElement.className") == "cell"


def test_shows_its_pictures_and_a_strangers_label_as_text(tab):
    assert tab.locator("figure svg").count() == 3
    assert all(tab.locator("figure svg").nth(k).bounding_box()["height"] > 80 for k in range(3))
    assert tab.locator("th.name", has_text="<script>alert(1)</script>").count() == 1


def test_fits_a_narrow_window(tab):
    tab.set_viewport_size({"width": 700, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
