"""The page of a failure: what is in it, and that one can step through it in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pwf_runtime import Workflow, emit
from pwsim.program import Program
from pwsim.report import html, text
from pwsim.runner import play
from pwsim.schedule import Schedule

from .browser import Browser
from .failures import AT_ONCE, EARLY, TWICE, fault_of, found, played, step_of

REPLAY = "pwsim replay .pwsim/failures/L1-x.toml"
NASTY = "</script><script>document.title = 'broken'</script><!-- <b>\u2028"


# ── what is in it ───────────────────────────────────────────────────────────────────────────────


def test_a_page_is_small_and_refers_to_nothing_outside() -> None:
    page = html.page(played(*TWICE), REPLAY)
    assert len(page.encode()) < 500_000
    assert set(re.findall(r"\w+://[^\s\"']*", page)) == {"http://www.w3.org/2000/svg"}, "a name, not an address to load"
    assert not re.search(r"<(link|img|iframe|script[^>]* src)|@import|url\(", page)


def test_a_page_is_the_same_each_time() -> None:
    assert html.page(played(*TWICE), REPLAY) == html.page(played(*TWICE), REPLAY)


def test_no_payload_can_end_the_element_that_holds_the_data() -> None:
    assert not set(html.embeddable({"data": NASTY})) & set("<>&\u2028\u2029")


def test_every_fault_knows_its_step() -> None:
    data = html.data(played("", "begin #1 / commit / after", "no > such #1 / run / stall"), REPLAY)
    assert [bool(fault["step"]) for fault in data["faults"]] == [True, False]
    assert data["steps"][data["faults"][0]["step"] - 1]["fault"] == "after"


def test_arrows_go_where_messages_go() -> None:
    data = html.data(played(*TWICE), REPLAY)
    names = [lane["name"] for lane in data["lanes"]]
    assert names == ["client", "fan/1", "fan/2", "queue fan", "store"]
    arrows = {step["address"]: [(names[a["from"]], names[a["to"]]) for a in step["arrows"]] for step in data["steps"]}
    assert arrows["start of run #1 / publish begin"] == [("client", "queue fan")]
    assert arrows["begin #1 / receive"] == [("queue fan", "fan/1")]
    assert arrows["begin #1 / claim"] == [("fan/1", "store")]
    assert arrows["begin #2 / ack"] == [("fan/2", "queue fan")]
    stalled = next(step for step in data["steps"] if step["fault"])
    assert [names[a["to"]] for a in stalled["arrows"]] == ["queue fan"], "what it had unacked goes back"


# ── in a browser ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for failure in (TWICE, EARLY, AT_ONCE):
        html.write(folder / f"{failure[0]}.html", played(*failure), REPLAY)
    return folder


@pytest.fixture
def twice(browser: Browser, pages: Path) -> Iterator[Browser]:
    """The page of a failure, just opened; whatever is done with it, nothing may go wrong in it."""
    browser.errors.clear()
    browser.resize(1400, 900)
    browser.open(pages / f"{TWICE[0]}.html")
    yield browser
    assert browser.errors == []


def _number(browser: Browser) -> int:
    return int(browser.text("#where").split()[1])


def _selected(browser: Browser) -> list[str]:
    return list(browser.run("[...document.querySelectorAll('[aria-selected=true]')].map((row) => row.id)"))


def test_the_page_opens_from_a_file_and_loads_nothing_else(twice: Browser, pages: Path) -> None:
    assert twice.requests == [(pages / f"{TWICE[0]}.html").as_uri()]


def test_the_top_says_what_happened_and_how_to_replay_it(twice: Browser) -> None:
    assert twice.text("#title") == text.sentence(found(*TWICE))
    assert twice.text("#faults") == TWICE[1]
    assert twice.text("#replay") == REPLAY
    assert "here fan/2 begin #2 receive" in twice.text("#parting")
    assert "L1 is broken: begin committed 2 times" in twice.text("#ending")


def test_it_begins_at_the_first_fault_and_marks_it(twice: Browser) -> None:
    assert _number(twice) == fault_of(played(*TWICE))
    assert "the worker stalls beyond its lease" in twice.text("#state .about")
    assert twice.run("document.querySelectorAll('.has-fault .cross').length") == 1


def test_keys_step_forward_and_back(twice: Browser) -> None:
    result = played(*TWICE)
    last, struck = len(result.trace), fault_of(result)
    for keys, expected in [
        (["Home"], 1),
        (["ArrowRight"], 2),
        (["j"], 3),
        (["ArrowDown"], 4),
        (["ArrowLeft"], 3),
        (["k"], 2),
        (["ArrowUp", "ArrowUp", "ArrowUp"], 1),
        (["End"], last),
        (["j"], last),
        (["Home", "f"], struck),
        (["End", "F"], struck),
    ]:
        twice.press(*keys)
        assert _number(twice) == expected, keys
        assert _selected(twice) == [f"step-{expected}"]


def test_buttons_and_rows_do_what_keys_do(twice: Browser) -> None:
    struck = fault_of(played(*TWICE))
    twice.click("#home")
    assert _number(twice) == 1
    twice.click("#next")
    twice.click("#next")
    assert _number(twice) == 3
    twice.click("#back")
    assert _number(twice) == 2
    twice.click("#step-9 .what")
    assert _number(twice) == 9
    twice.click("#faults button")
    assert _number(twice) == struck
    twice.click("#parting")
    assert _number(twice) == struck + 1, "where it parts from the passing run"
    twice.click("#end")
    assert twice.run("document.querySelector('#next').disabled")


def test_the_selected_step_shows_the_state_and_what_changed(twice: Browser) -> None:
    received = step_of(played(*TWICE), "begin", "receive")
    twice.press("Home", *["j"] * (received - 1))
    assert twice.text("#state h2") == "receive"
    assert _items(twice, "changed") == ["fan/1 nothing begin #1", "fan begin ready unacked by fan/1"]
    twice.press("j")
    assert "begin ready attempt 1 lease fan/1 until 10.000s data 3" in _items(twice, "changed")
    assert _items(twice, "new") == []
    twice.press("End")
    assert "begin > part[0] ready data 0" in _items(twice, "new"), "the second commit made its calls again"


def _items(browser: Browser, kind: str) -> list[str]:
    """The rows of the state of this kind: all that they say but the machine's state."""
    rows = browser.run(
        f"""[...document.querySelectorAll("#state .{kind}")].map((row) =>
            [...row.querySelectorAll(".name, .cell i, .cell del, .cell span")].map((part) => part.innerText.trim())
        )"""
    )
    return [" ".join(part for part in row if not re.match(r"[A-Z]\w+: ", part)) for row in rows]


def test_stepping_back_shows_what_stepping_forward_showed(twice: Browser) -> None:
    twice.press("Home")
    forward = [twice.text("#state")]
    for _ in range(20):
        twice.press("j")
        forward.append(twice.text("#state"))
    back = [twice.text("#state")]
    for _ in range(20):
        twice.press("k")
        back.append(twice.text("#state"))
    assert back[::-1] == forward


def test_the_selected_row_is_always_in_sight(twice: Browser) -> None:
    in_sight = """(() => {
        const row = document.querySelector("[aria-selected=true]").getBoundingClientRect();
        const box = document.querySelector("#diagram").getBoundingClientRect();
        const head = document.querySelector("#lanes").getBoundingClientRect();
        return row.top >= head.bottom - 1 && row.bottom <= box.bottom + 1;
    })()"""
    for key in ["End", "Home", *["j"] * 30, "?", *["k"] * 10]:
        twice.press(key)
        assert twice.run(in_sight), key


def test_help_is_shown_and_hidden(twice: Browser) -> None:
    assert twice.run("document.querySelector('#help').hidden")
    twice.press("?")
    assert "step forward" in twice.text("#help")
    twice.click("#help-button")
    assert twice.run("document.querySelector('#help').hidden")


def test_an_address_with_a_step_opens_there(twice: Browser, pages: Path) -> None:
    twice.open(pages / f"{TWICE[0]}.html", "#step=12")
    assert _number(twice) == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(scheme: str, twice: Browser) -> None:
    """The contrast of WCAG AA for every text on the page, 4.5 to 1; for struck-out and large ones 3 to 1 will do."""
    twice.prefers(scheme)
    try:
        poor = twice.run(_CONTRAST)
    finally:
        twice.prefers("light")
    assert poor == []


@pytest.mark.parametrize("failure", [EARLY, AT_ONCE], ids=lambda failure: failure[0])
def test_every_failure_has_its_page(failure: tuple[str, ...], browser: Browser, pages: Path) -> None:
    browser.errors.clear()
    browser.open(pages / f"{failure[0]}.html")
    assert browser.text("#title") == text.sentence(found(*failure))
    assert browser.run("document.querySelectorAll('.step').length") == len(played(*failure).trace)
    assert browser.run("document.querySelector('#faults-row').hidden") == (len(failure) == 1)
    assert browser.errors == []


def test_a_nasty_payload_is_text(browser: Browser, tmp_path: Path) -> None:
    app = Workflow("app")

    @app.task
    def say(data: str):  # type: ignore[no-untyped-def]
        return emit(data, data)

    html.write(tmp_path / "page.html", play(Program([app], [("say", NASTY)]), Schedule()), REPLAY)
    browser.errors.clear()
    browser.open(tmp_path / "page.html")
    assert browser.run("document.title").startswith("pwsim: No law is broken")
    browser.press("Home", "j", "j", "j", "j", "j", "j")
    assert "</script><script>" in browser.text("#state")
    assert browser.errors == []


_CONTRAST = """(() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        const shown = element.checkVisibility && element.checkVisibility();
        if (!own || !shown || element.closest("script, style, svg, button:disabled")) continue;
        const a = light(parse(getComputedStyle(element).color)), b = light(ground(element));
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const needed = element.closest("del, .gone") ? 3 : 4.5;
        const about = `${element.tagName} ${element.className} ${element.textContent.slice(0, 40)}`;
        if (contrast < needed) poor.push(`${contrast.toFixed(2)} ${about}`);
    }
    return [...new Set(poor)];
})()"""
