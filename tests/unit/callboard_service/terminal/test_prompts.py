"""The prompts and the keyboard between them: prompts.py and keyboard.py."""

import asyncio

import pytest
from prompt_toolkit.input import PipeInput

from callboard_service.terminal.errors import InputEnded, Interrupted
from callboard_service.terminal.prompts import Prompts


async def never() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


async def test_what_is_pasted_keeps_its_lines(keyboard: PipeInput, prompts: Prompts) -> None:
    keyboard.send_text("a \x1b[200~one\r\ntwo\x1b[201~\x1b\rthree\r")
    assert await prompts.message(never()) == "a one\ntwo\nthree"


async def test_the_keys_that_end_a_line(keyboard: PipeInput, prompts: Prompts) -> None:
    discarded: list[bool] = []
    for keys in ("dropped\x03", "\x03"):
        keyboard.send_text(keys)
        with pytest.raises(Interrupted):
            await prompts.message(never())
        discarded.append(prompts.discarded)
    assert discarded == [True, False]
    keyboard.send_text("\x04")
    with pytest.raises(InputEnded):
        await prompts.message(never())


async def test_a_keyboard_that_is_gone_ends_the_input(
    keyboard: PipeInput, prompts: Prompts
) -> None:
    keyboard.close()
    with pytest.raises(InputEnded):
        await prompts.message(never())


async def test_ctrl_d_at_an_ask_is_an_empty_line(keyboard: PipeInput, prompts: Prompts) -> None:
    keyboard.send_text("\x04")
    assert await prompts.answer("?", never()) == ""


async def test_a_prompt_that_is_left_keeps_what_was_typed(
    keyboard: PipeInput, prompts: Prompts
) -> None:
    """The next prompt begins with the line that was half typed, and its cursor."""
    woken = asyncio.Event()

    async def wake() -> None:
        await woken.wait()

    left = asyncio.create_task(prompts.message(wake()))
    keyboard.send_text("on two\x1b[D\x1b[D\x1b[D\x1b[D")
    while prompts._messages.default_buffer.cursor_position != 2:
        await asyncio.to_thread(lambda: None)
    woken.set()
    assert await left is None
    keyboard.send_text("e\r")
    assert await prompts.message(never()) == "one two"
    keyboard.send_text("new\r")
    assert await prompts.message(never()) == "new"


async def test_ctrl_c_during_a_reply_drops_what_was_typed(
    keyboard: PipeInput, prompts: Prompts
) -> None:
    """Ctrl-C and Ctrl-D act at once; what was typed before Ctrl-C is dropped."""
    calls: list[str] = []
    watched = prompts.keyboard.watched(
        lambda: calls.append("interrupt"), lambda: calls.append("leave")
    )
    with watched:
        keyboard.send_text("dropped\x03kept\x04\r")
        while len(calls) < 2:
            await asyncio.to_thread(lambda: None)
    assert calls == ["interrupt", "leave"]
    assert await prompts.message(never()) == "kept"


async def test_a_keyboard_that_is_gone_during_a_reply_leaves(
    keyboard: PipeInput, prompts: Prompts
) -> None:
    """The end of the input leaves the program, like Ctrl-D."""
    left = asyncio.Event()
    with prompts.keyboard.watched(left.set, left.set):
        keyboard.close()
        await left.wait()


async def test_keys_that_come_before_a_prompt_reads_them_reach_it(
    keyboard: PipeInput, prompts: Prompts
) -> None:
    """Keys are handed over together with those that come until the prompt reads."""
    with prompts.keyboard.watched(lambda: None, lambda: None):
        keyboard.send_text("on")
        while not prompts.keyboard.waits():
            await asyncio.to_thread(lambda: None)
        with prompts.keyboard.handed_over():
            keyboard.send_text("e\r")
            for _ in range(3):
                await asyncio.to_thread(lambda: None)
            async with asyncio.timeout(10):
                assert await prompts.message(never()) == "one"


@pytest.mark.parametrize(
    ("keys", "begins"),
    [("x", True), ("é", True), ("\x1b[200~x\x1b[201~", True), ("\x1b[A", True), ("\r\t", False)],
)
async def test_which_keys_begin_a_line(
    keyboard: PipeInput, prompts: Prompts, keys: str, begins: bool
) -> None:
    """Text and the way to an earlier line do; keys that mean nothing in an empty line do not."""
    with prompts.keyboard.watched(lambda: None, lambda: None):
        keyboard.send_text(keys)
        while not prompts.keyboard._typed:
            await asyncio.to_thread(lambda: None)
        assert prompts.keyboard.waits() is begins
