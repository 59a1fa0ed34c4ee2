"""The page Play and a notebook's sliders in Chromium, without a screen: a key moves a slider, and the picture changes."""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e .[browser]")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SITE = os.environ.get("DUONET_SITE")
FIGURES = ("walk", "split", "mismatch")

if not (CHROMIUM and DRIVER):
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def wait(browser, condition, seconds=60):
    return WebDriverWait(browser, seconds, 0.1).until(condition)


def pictures(browser, figure):
    """What the canvases of a figure show."""
    script = "return [...document.querySelectorAll(arguments[0])].map(canvas => canvas.toDataURL())"
    return browser.execute_script(script, f'[data-figure="{figure}"] canvas')


def shows(figure, expected, browser):
    return pictures(browser, figure) == expected


def opened(browser, width):
    if SITE is None:
        pytest.skip("needs a site: sphinx-build docs SITE, and SITE in the environment's DUONET_SITE")
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((Path(SITE).resolve() / "play.html").as_uri())
    wait(browser, lambda _: all(pictures(browser, figure) for figure in FIGURES))


@pytest.mark.parametrize("width", [1400, 1000, 390])
def test_every_slider_moves_its_figure_and_the_page_keeps_to_its_width(browser, width):
    opened(browser, width)
    wide = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1], "scrolls to the side"
    for figure in FIGURES:
        for bar in browser.find_elements(By.CSS_SELECTOR, f'[data-figure="{figure}"] input'):
            before, said = pictures(browser, figure), bar.get_attribute("aria-valuetext")
            bar.send_keys(Keys.ARROW_RIGHT)
            wait(browser, lambda b, seen=(figure, before): not shows(*seen, b), 10)
            name = bar.get_attribute("id")
            label, shown = (
                browser.find_element(By.CSS_SELECTOR, f'{tag}[for="{name}"]').text for tag in ("label", "output")
            )
            assert label == bar.accessible_name and bar.aria_role == "slider"
            assert shown == bar.get_attribute("aria-valuetext") != said
            bar.send_keys(Keys.ARROW_LEFT)
            wait(browser, functools.partial(shows, figure, before), 10)
    assert browser.get_log("browser") == []


def test_a_pointer_moves_a_slider_too(browser):
    opened(browser, 390)
    bar = browser.find_element(By.ID, "play-split-distance")
    before, said = (
        pictures(browser, "split"),
        browser.find_element(By.CSS_SELECTOR, '[data-figure="split"] .play-said'),
    )
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", bar)
    assert "differ at" in said.text
    bar.click()  # in its middle, which is ¼
    wait(browser, lambda _: pictures(browser, "split") != before, 10)
    assert "agree at all" in said.text and bar.get_attribute("aria-valuetext") == "0.25"


def test_the_cosines_are_those_that_the_page_names(browser):
    opened(browser, 1000)
    said = browser.find_element(By.CSS_SELECTOR, '[data-figure="mismatch"] .play-said')
    assert said.text.endswith("0.91 in the third.")  # "about 0.9 with ε = 0.1"
    browser.find_element(By.ID, "play-mismatch-step").send_keys(Keys.HOME)
    assert said.text.endswith("0.62 in the third.")  # "about 0.6 with ε = 0.01"


def test_the_plots_follow_the_theme(browser):
    opened(browser, 390)
    seen = []
    for theme in ("light", "dark"):
        browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
        wait(browser, lambda _: pictures(browser, "walk") not in seen, 10)
        seen.append(pictures(browser, "walk"))


NOTEBOOK = """
import matplotlib.pyplot as plt
import numpy as np
from duonet.quant import Binary
from duonet.viz import sliders

def show(threshold=0.5):
    'Draw a step, which moves with its threshold.'
    x, (figure, axes) = np.linspace(0, 1, 101), plt.subplots(figsize=(3, 2))
    axes.plot(x, Binary(threshold)(x))
    return figure

sliders(show, threshold=[0.25, 0.5, 0.75])
"""


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own, with one notebook."""
    pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install -r requirements.txt")
    pytest.importorskip("ipywidgets")
    cell = {
        "cell_type": "code",
        "id": "one",
        "source": NOTEBOOK,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    text = json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    (tmp_path / "one.ipynb").write_text(text)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    places = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "RUNTIME")}
    places |= {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "w"), "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "s")}
    words = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=", "--LabApp.news_url="]
    with open(tmp_path / "log", "w") as log:
        command = [sys.executable, "-m", "jupyterlab", *words]
        server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | places, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and server.poll() is None:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/one.ipynb"
    finally:
        server.terminate()
        server.wait(30)


def test_a_slider_in_a_notebook_moves_its_figure(browser, lab):
    def found(selector):
        return wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, selector), 180)[0]

    def picture():
        return browser.execute_script("return document.querySelector('.jp-OutputArea-output img').src")

    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(lab)
    wait(
        browser, lambda b: "| Idle" in b.find_element(By.TAG_NAME, "body").text, 180
    )  # the kernel, in the bar below
    browser.execute_script("arguments[0].focus()", found(".jp-CodeCell .cm-content"))
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
    handle = found(".jp-OutputArea-output .noUi-handle")
    assert found(".jp-OutputArea-output img").get_attribute("alt").startswith("Draw a step")
    before = picture()
    browser.execute_script("arguments[0].focus()", handle)
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    wait(browser, lambda _: picture() != before)
    ActionChains(browser).send_keys(Keys.ARROW_LEFT).perform()
    wait(browser, lambda _: picture() == before)
