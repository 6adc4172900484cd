"""The HTML report in a real browser: it opens without a network, its slider moves, its text can be read.

Runs where Chromium, its driver and Selenium are installed; one browser for all checks.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import emix

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="needs Chromium: apt-get install chromium chromium-driver"
    ),
    pytest.mark.skipif(importlib.util.find_spec("selenium") is None, reason="needs Selenium: pip install selenium"),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)
WIDTHS = (1280, 390)
EVIL = "<img src=x onerror='window.hit=1'>"
TEXTS = """
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const parent = walker.currentNode.parentElement;
  const box = parent.getBoundingClientRect();
  if (!walker.currentNode.data.trim() || !box.width || parent.closest("script,style,.skip")) continue;
  const style = getComputedStyle(parent);
  if (style.visibility === "hidden" || style.display === "none") continue;
  found.push([walker.currentNode.data.trim().slice(0, 40), parseFloat(style.fontSize), box.left, box.right,
              Boolean(parent.closest(".scroll, details:not([open]), svg"))]);
}
return found;
"""
COLOURS = """
return Array.from(document.querySelectorAll('#walk-plot .scatterlayer .trace:first-child path.point'))
    .map(point => point.style.fill);
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Reports of a Gaussian pair, of columns of several kinds with hostile names, and of counts."""
    folder = tmp_path_factory.mktemp("reports")
    faithful = Path(__file__).parent.parent / "examples" / "old_faithful.csv"
    emix.write_report(
        emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), faithful, random_state=1), faithful, folder / "pair.html"
    )
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 120)
    mixed = {
        EVIL: rng.normal(size=120) + 4 * z,
        "visits": rng.poisson(1 + 5 * z),
        "town": np.where(rng.random(120) < 0.2 + 0.6 * z, EVIL, "south").astype(object),
    }
    family = emix.Columns({EVIL: "normal", "visits": "poisson", "town": "categorical"})
    result = emix.fit(emix.Mixture(family, 2), mixed, random_state=1, n_init=2)
    emix.write_report(result, mixed, folder / "mixed.html", title=EVIL)
    counts = {"visits": mixed["visits"]}
    result = emix.fit(emix.Mixture(emix.Poisson(), 2), counts, random_state=1, n_init=2)
    emix.write_report(result, counts, folder / "counts.html")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, log_output=os.devnull))
    yield driver
    driver.quit()


def opened(browser, path: Path, width: int = 1280) -> None:
    """The page at this width, with all its charts drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    drawn = "return document.documentElement.dataset.drawn === 'true'"
    WebDriverWait(browser, 30, poll_frequency=0.05).until(lambda driver: driver.execute_script(drawn))


def click(browser, name: str) -> None:
    """A click on what is in sight: the page scrolls smoothly, and a moving target is missed."""
    from selenium.webdriver.common.by import By

    element = browser.find_element(By.ID, name)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()


def text_of(browser, name: str) -> str:
    return browser.execute_script("return document.getElementById(arguments[0]).textContent", name)


@pytest.mark.parametrize("name", ["pair", "mixed", "counts"])
def test_the_page_opens_without_a_network_and_without_an_error(browser, pages, name):
    opened(browser, pages[name])
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert said == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent" and event["params"]["documentURL"].startswith("file:")
    }
    assert pages[name].as_uri() in asked
    assert [url for url in asked - {pages[name].as_uri()} if not url.startswith(("data:", "blob:"))] == []
    assert browser.execute_script("return window.hit") is None
    drawn = browser.execute_script(
        "return Array.from(document.querySelectorAll('[data-chart]')).map(e => e.querySelectorAll('.main-svg').length)"
    )
    assert all(drawn)


def test_the_policy_forbids_the_network(browser, pages):
    opened(browser, pages["pair"])
    outcome = browser.execute_async_script(
        "const done = arguments[0];"
        "document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
        "fetch('https://example.org/').catch(() => {}); setTimeout(() => done('nothing'), 3000);"
    )
    assert outcome == "connect-src"
    browser.get_log("browser")


def test_keys_buttons_and_the_slider_step_through_em(browser, pages):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages["pair"])
    slider = browser.find_element(By.ID, "walk-slider")

    def seen() -> tuple[str, str, list[str], str]:
        return (
            text_of(browser, "walk-iteration"),
            text_of(browser, "walk-loglik"),
            browser.execute_script(COLOURS),
            slider.get_attribute("aria-valuetext"),
        )

    states = [seen()]
    assert states[0][0].startswith("Iteration 0 of ")
    assert len(states[0][2]) > 200
    slider.send_keys(Keys.ARROW_RIGHT)
    states.append(seen())
    browser.find_element(By.ID, "walk").send_keys(Keys.ARROW_RIGHT)
    states.append(seen())
    click(browser, "walk-on")
    states.append(seen())
    assert [state[0].split()[1] for state in states] == ["0", "1", "2", "3"]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", slider)
    ActionChains(browser).click_and_hold(slider).move_by_offset(slider.size["width"] // 3, 0).release().perform()
    states.append(seen())
    click(browser, "walk-last")
    states.append(seen())
    for before, after in pairwise(states):
        assert all(one != other for one, other in zip(before, after, strict=True))
    climbed = [float(state[1].split()[1]) for state in states]
    assert climbed == sorted(climbed)
    assert climbed[-1] == pytest.approx(-1130.264, abs=1e-3)  # mclust's VVV, two components
    cells = browser.execute_script(
        "return Array.from(document.querySelectorAll('#walk-counts td')).map(e => e.textContent)"
    )
    assert sum(float(one) for one in cells[1::2]) == pytest.approx(272, abs=0.02)


def test_arrows_step_while_the_picture_is_in_sight_wherever_the_focus_is(browser, pages):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages["pair"])
    sight = "document.getElementById('{}').scrollIntoView({{block: 'center', behavior: 'instant'}})"

    def pressed(key: str, place: str) -> int:
        browser.execute_script(sight.format(place))
        ActionChains(browser).send_keys(key).perform()
        return int(text_of(browser, "walk-iteration").split()[1])

    assert browser.execute_script("return document.activeElement === document.body")
    assert pressed(Keys.ARROW_RIGHT, "words") == 0  # out of sight
    assert pressed(Keys.ARROW_RIGHT, "walk-plot") == 1
    assert pressed(Keys.ARROW_RIGHT, "walk-plot") == 2
    assert pressed(Keys.ARROW_LEFT, "walk-plot") == 1
    assert pressed(Keys.END, "walk-plot") == 1  # of the page
    browser.execute_script("document.getElementById('walk-e').parentElement.focus({preventScroll: true})")
    assert pressed(Keys.ARROW_RIGHT, "walk-plot") == 1  # scrolls the table
    browser.execute_script("document.getElementById('walk').focus({preventScroll: true})")
    assert pressed(Keys.END, "walk-plot") > 5


def test_on_a_narrow_screen_a_worked_row_has_its_names_and_probabilities_in_sight(browser, pages):
    opened(browser, pages["mixed"], 390)
    edges = browser.execute_script(
        """const room = document.getElementById('walk-e').parentElement.getBoundingClientRect();
           return Array.from(document.querySelectorAll('#walk-e tr > :first-child, #walk-e tr > :last-child'))
             .map(cell => cell.getBoundingClientRect()).map(box => [box.left - room.left, room.right - box.right]);"""
    )
    assert len(edges) == 6
    assert min(min(pair) for pair in edges) >= -1


def test_play_runs_and_stops(browser, pages):
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, pages["counts"])
    bars = "return document.querySelector('#walk-plot').data.map(t => Array.from(t.y))"
    before = browser.execute_script(bars)
    click(browser, "walk-play")
    assert text_of(browser, "walk-play") == "Pause"
    WebDriverWait(browser, 5, poll_frequency=0.05).until(lambda _: "Iteration 2" in text_of(browser, "walk-iteration"))
    click(browser, "walk-play")
    assert text_of(browser, "walk-play") == "Play"
    stopped = text_of(browser, "walk-iteration")
    after = browser.execute_script(bars)
    assert before != after
    assert np.allclose(np.sum(before[:2], axis=0), np.sum(after[:2], axis=0), atol=0.5)  # the same rows, split anew
    assert text_of(browser, "walk-iteration") == stopped


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["pair", "mixed"])
def test_text_can_be_read(browser, pages, name, width):
    opened(browser, pages[name], width)
    room = browser.execute_script("return [document.scrollingElement.scrollWidth, innerWidth]")
    assert room[0] <= room[1] == width
    texts = browser.execute_script(TEXTS)
    assert len(texts) > 100
    assert [one for one in texts if one[1] < 12] == []
    assert [one for one in texts if not one[4] and (one[2] < 0 or one[3] > width + 0.5)] == []
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_terms_are_explained_within_the_window(browser, pages, width):
    opened(browser, pages["pair"], width)
    boxes = browser.execute_script(
        """return Array.from(document.querySelectorAll('.term')).map(word => {
             word.focus({preventScroll: true});
             const tip = document.getElementById('tip');
             const box = tip.getBoundingClientRect();
             word.blur();
             return [tip.textContent, box.left, box.right];
           });"""
    )
    assert len(boxes) > 8
    for text, left, right in boxes:
        assert len(text) > 20
        assert left >= 0
        assert right <= width
    assert browser.execute_script("return document.getElementById('tip').hidden")


def test_controls_have_names(browser, pages):
    opened(browser, pages["pair"])
    nameless = browser.execute_script(
        """return Array.from(document.querySelectorAll('button, input, [role=img], [role=region], [role=group]'))
             .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML);"""
    )
    assert nameless == []
    assert browser.execute_script("return document.documentElement.lang") == "en"
    slider = "document.getElementById('walk-slider')"
    assert browser.execute_script(f"return [{slider}.min, {slider}.type]") == ["0", "range"]


def test_on_paper_charts_fit_and_nothing_is_folded_away(browser, pages):
    opened(browser, pages["pair"])
    state = """return [document.querySelectorAll('details:not([open])').length,
        Math.max(...Array.from(document.querySelectorAll('.main-svg')).map(e => e.getBoundingClientRect().width))]"""
    folded, wide = browser.execute_script(state)
    assert folded > 0
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    open_, narrow = browser.execute_script(state)
    assert (open_, narrow) == (0, 620)
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(state) == [folded, wide]
