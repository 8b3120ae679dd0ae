"""The page in a real browser, from a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.page.conftest import HOSTILE, Page

if TYPE_CHECKING:
    from playwright.sync_api import Page as Tab

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any, page: Page) -> Iterator[Tab]:
    """The page, opened; any error or request beyond the file itself fails the test."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(10_000)
    wrong: list[str] = []
    tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    address = page.file.as_uri()
    tab.on("request", lambda request: None if request.url.split("#")[0] == address else wrong.append(request.url))
    tab.goto(address)
    yield tab
    assert wrong == []
    tab.close()


def methods(tab: Tab) -> list[str]:
    return [row.get_attribute("data-method") or "" for row in tab.locator("#glue tr[data-method]:visible").all()]


def test_a_click_on_a_header_sorts_within_each_model(tab: Tab) -> None:
    before = methods(tab)
    header = tab.locator("#glue thead th").nth(1)
    orders = []
    for _ in range(3):
        header.locator("button").press("Enter")
        orders.append((header.get_attribute("aria-sort"), methods(tab)))
    assert orders == [
        ("ascending", ["LoRA", "RoCoFT-3-Row", HOSTILE, "IA3", "LoRA"]),
        ("descending", ["RoCoFT-3-Row", "LoRA", HOSTILE, "IA3", "LoRA"]),
        ("none", before),
    ]


def test_filters_hide_what_does_not_match_and_are_kept_in_the_address(tab: Tab) -> None:
    tab.locator("[data-filter=task] summary").click()
    tab.get_by_label("rte", exact=True).check()
    tab.get_by_placeholder("Method contains").fill("rocoft")
    assert methods(tab) == ["RoCoFT-3-Row"]
    assert tab.locator("#glue thead th:visible").all_inner_texts()[1].startswith("RTE")
    assert not tab.locator("#glue th[data-task=mrpc]").is_visible()
    assert tab.locator("#kernels").is_hidden()
    assert tab.locator(".count").inner_text() == "1 of 2 tables, 1 of 6 rows"
    assert tab.url.endswith("#task=rte&text=rocoft")
    tab.reload()
    assert methods(tab) == ["RoCoFT-3-Row"]
    tab.get_by_role("button", name="Reset").click()
    tab.wait_for_function("!location.hash")
    assert len(methods(tab)) == 5


def test_a_run_opens_by_keyboard_and_closes_with_escape(tab: Tab) -> None:
    cell = tab.locator("#glue a.runs").first
    cell.focus()
    cell.press("Enter")
    dialog = tab.get_by_role("dialog")
    playwright.expect(dialog.locator(".charts svg")).to_have_count(2)
    assert "run=rocoft+0+%26+%231" in tab.url
    assert dialog.locator("h2").inner_text() == "RoCoFT-3-Row on rte"
    assert dialog.locator("pre").first.text_content() == "seed: 0  # <b>bold</b>\n"
    dialog.get_by_role("button", name="seed 1").click()
    playwright.expect(dialog.locator("code.id")).to_have_text("rocoft-1")
    tab.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert cell.evaluate("link => link === document.activeElement")
    assert "run=" not in tab.url


def test_two_runs_are_shown_side_by_side(tab: Tab, page: Page) -> None:
    tab.goto(page.file.as_uri() + "#run=rocoft-1")
    dialog = tab.get_by_role("dialog")
    playwright.expect(dialog.locator("code.id")).to_have_text("rocoft-1")
    dialog.get_by_label("Another run on the same examples").select_option(label="LoRA, seed 0 (lora-0)")
    playwright.expect(dialog.locator(".answers th")).to_have_count(8)
    tally = dialog.locator(".tally").inner_text()
    assert "both right: 2" in tally
    assert "only RoCoFT-3-Row right: 2" in tally
    assert "only LoRA right: 0" in tally
    assert "neither right: 0" in tally
    dialog.get_by_label("Examples", exact=True).select_option("differ")
    rows = dialog.locator(".answers tbody tr")
    assert [row.inner_text().replace("\n", " ").split("\t") for row in rows.all()] == [
        ["0", "1", "1 (right) ", "0 (wrong)"],
        ["1", "0", "0 (right) ", "1 (wrong)"],
    ]


def test_a_failed_run_says_why_and_stays_text(tab: Tab, page: Page) -> None:
    tab.goto(page.file.as_uri() + "#run=failed-0")
    failure = tab.locator("dialog .failure")
    assert HOSTILE in failure.inner_text()
    assert "Hint: less" in failure.inner_text()
    assert tab.get_by_text("Missing or damaged: config.yaml, provenance.json, history.jsonl").is_visible()
    assert tab.locator("img").count() == 0
    assert tab.title() == f"Report {HOSTILE}"


def test_the_prompt_is_shown_as_it_was_and_stays_text(tab: Tab, page: Page) -> None:
    tab.goto(page.file.as_uri() + "#run=lora-0")
    tab.get_by_text("The prompt, as the model sees it").click()
    assert tab.get_by_text("First example of training").is_visible()
    shown = tab.locator("dialog details[open]")
    assert shown.locator("pre").first.text_content() == HOSTILE
    assert "7 8" in shown.inner_text()
    assert tab.locator("img").count() == 0


def test_the_page_is_no_wider_than_a_phone(tab: Tab) -> None:
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.reload()
    for opened in (False, True):
        if opened:
            tab.locator("#glue a.runs").first.click()
            playwright.expect(tab.locator("dialog .charts svg")).to_have_count(2)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("document.querySelector('dialog').scrollWidth") <= 390


def test_the_theme_is_the_readers(tab: Tab) -> None:
    def background() -> str:
        return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    tab.emulate_media(color_scheme="light")
    light = background()
    tab.emulate_media(color_scheme="dark")
    assert background() != light
    button = tab.locator("#theme")
    button.click()
    button.click()
    assert button.get_attribute("aria-label") == "Theme: light"
    assert background() == light
