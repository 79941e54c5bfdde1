"""The page with a real agent: OpenCode behind ACP, with a scripted model."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.service_process import ServiceProcess, running
from tests.page.conftest import address
from tests.page.window import window
from tests.support.peers.opencode_agent import acp_settings
from tests.support.peers.opencode_server import need_opencode
from tests.support.peers.scripted_llm import ScriptedLLM, call, say, scripted_llm, think

pytestmark = pytest.mark.timeout(240)

WRONG = """def median(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
"""

LAST = "    return ordered[len(ordered) // 2]\n"

RIGHT = """    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
"""

QUESTION = "median() is wrong for an even number of values. Can you fix it?"

ANSWER = """`median()` took the upper of the two middle values. Now it takes their mean:

```python
if len(ordered) % 2:
    return ordered[middle]
return (ordered[middle - 1] + ordered[middle]) / 2
```

| values | before | now |
|---|---|---|
| `[1, 3]` | 3 | **2.0** |
| `[1, 2, 10]` | 2 | 2 |
"""


def words(text: str) -> tuple[str, ...]:
    """Return the text in pieces of a word, as a model sends it."""
    return tuple(f"{word} " if word else " " for word in text.split(" "))


@pytest.fixture
def llm() -> Iterator[ScriptedLLM]:
    need_opencode()
    with scripted_llm() as llm:
        yield llm


@pytest.fixture
def service(llm: ScriptedLLM, tmp_path: Path) -> Iterator[ServiceProcess]:
    settings = acp_settings(tmp_path, llm.url)
    file = tmp_path / "project" / "stats.py"
    file.write_text(WRONG)
    subprocess.run(["git", "init", "--quiet", file.parent], check=True)  # so that paths are short
    llm.title = "Median of an even number of values"
    check = "python3 -c 'from stats import median; print(median([{}]))'"
    llm.scripts["median()"] = [
        [
            think(*words("An even number of values has two middle ones.")),
            say(*words("I look at the function first.")),
            call("read", filePath=str(file)),
        ],
        [call("edit", filePath=str(file), oldString=LAST, newString=RIGHT)],
        [
            say(*words("That should do. I check it.")),
            call("bash", command=check.format("1, 3"), description="Check two values"),
        ],
        [call("bash", command=check.format("1, 2, 10"), description="Check three values")],
        [say(*words(ANSWER))],
    ]
    with running(tmp_path / "service", **settings) as started:
        yield started


def test_two_windows_and_a_real_agent(chromium: Browser, service: ServiceProcess) -> None:
    with window(chromium) as one, window(chromium) as other:
        one.open(address(service))
        one.write(QUESTION)
        expect(one.page.locator(".turn")).to_have_count(1)
        other.open(f"{address(service)}&{one.page.url.partition('#')[2]}")
        # Each of them allows one command.
        expect(one.last.locator(".ask.open")).to_be_visible()
        one.shoot("agent-asks")
        one.last.locator(".ask.open button", has_text="Allow once").click()
        expect(other.last.locator(".ask.closed")).to_have_count(1)
        expect(other.last.locator(".ask.open")).to_be_visible()
        other.last.locator(".ask.open button", has_text="Allow once").click()
        one.idle()
        other.idle()
        expect(one.last.locator(".markdown table")).to_be_visible()
        expect(one.last.locator(".tool .added").first).to_contain_text("middle = len(ordered)")
        one.last.locator(".tool summary").nth(2).click()
        expect(one.last.locator(".tool pre", has_text="2.0")).to_be_visible()
        one.last.locator(".tool summary").nth(2).click()
        expect(one.last.locator(".tool pre", has_text="2.0")).to_have_count(0)
        assert one.thread() == other.thread()
        one.axe()
        one.shoot("agent")
