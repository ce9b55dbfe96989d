"""From upload to download in a real browser, by keyboard and on a phone; nothing is fetched from elsewhere."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
import uvicorn  # noqa: E402

from datakiln.serve.app import create  # noqa: E402
from datakiln.serve.settings import Settings  # noqa: E402
from tests.stub_tables import people  # noqa: E402

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium")
PICTURES = os.environ.get("SCREENSHOTS")  # a folder, for people who want to look
TRAINED = 240_000  # milliseconds that training may take
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs chromium")]


@pytest.fixture
def address(tmp_path):
    """A server whose jobs are the command itself."""
    app = create(Settings(tmp_path / "outputs", (sys.executable, "-m", "src.train")))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


def look(page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_from_upload_to_download(address, browser, tmp_path):
    file = tmp_path / "people.csv"
    people(120).to_csv(file, index=False)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    elsewhere, faults = [], []
    page.on("request", lambda r: urlsplit(r.url).netloc in urlsplit(address).netloc or elsewhere.append(r.url))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    page.set_input_files("#file", file)
    page.wait_for_selector("#columns tbody tr")
    page.select_option("select[aria-label='type of sex']", "drop")
    page.get_by_text("Types are set.").wait_for()
    page.select_option("#model", "copula")
    page.fill("#epochs", "2")
    look(page, "upload")
    page.focus("#train")
    page.keyboard.press("Enter")  # by keyboard
    page.wait_for_selector("#card:not([hidden])", timeout=TRAINED)
    assert page.locator("#curve polyline").count() >= 1
    page.fill("#n", "40")
    page.get_by_label("city", exact=True).fill(str(people(120).city[0]))
    with page.expect_download() as found:
        page.click("#sample")
    rows = pd.read_csv(io.BytesIO(Path(found.value.path()).read_bytes()))
    assert len(rows) == 40 and set(rows.city) == {people(120).city[0]} and "sex" not in rows
    look(page, "desktop")
    assert fits(page)
    with page.expect_popup() as report:
        page.click("#report")
    report.value.wait_for_load_state()
    assert "copula" in report.value.content().lower()
    page.set_viewport_size({"width": 360, "height": 740})
    look(page, "phone")
    assert fits(page)
    assert not elsewhere and not faults
