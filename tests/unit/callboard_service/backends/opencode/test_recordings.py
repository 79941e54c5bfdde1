"""Recordings of the real server yield the expected events, even with repeats and gaps."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard_service.backends.opencode.messages import Baseline
from callboard_service.backends.opencode.run import Run
from tests.unit.callboard_service.backends.opencode.recordings import (
    WHOLE,
    conversations,
    ending,
    plain,
    play,
    recorded,
    replay,
    shown,
    state_after,
)


def tokens(text: str) -> list[tuple[str, str]]:
    """Return a token for each word."""
    words = text.split(" ")
    return [("token", f"{word} ") for word in words[:-1]] + [("token", words[-1])]


QUESTION = {
    "question": "Proceed?",
    "header": "Go",
    "options": [{"label": "Yes", "description": "y"}, {"label": "No", "description": "n"}],
}
FILE = (
    "<path>{}</path>\n<type>file</type>\n<content>\n1: {}\n\n"
    "(End of file - total 1 lines)\n</content>"
)
HOSTNAME = FILE.format("/etc/hostname", "vm")
A_TXT = FILE.format("/home/user/project/a.txt", "abc")
ANSWERED = (
    'User has answered your questions: "Proceed?"="Yes". You can now continue with the user\'s'
    " answers in mind."
)
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "a_plain": [*tokens("one two three four five"), ("completed", 11, 7)],
    "a_reasoning": [
        *(("reasoning", piece) for piece in ("let ", "me ", "think")),
        *tokens("one two three"),
        ("completed", 11, 7),
    ],
    "b_perm_once": [
        (
            *("ask", "per_204edd55a0016GRmdjSItQv7ef", 1, "call_391ff13406bf"),
            ["once", "always", "reject"],
        ),
        ("closed", "per_204edd55a0016GRmdjSItQv7ef", ["once"]),
        ("call", "call_391ff13406bf", "read", {"filePath": "/etc/hostname"}),
        (
            *("result", "call_391ff13406bf"),
            HOSTNAME,
            False,
        ),
        ("token", "done"),
        ("completed", 22, 14),
    ],
    "b_question": [
        ("ask", "que_204ede080001GGCDgFy82oaqc5", 2, "call_979a1f980f9b", ["Yes", "No"]),
        ("closed", "que_204ede080001GGCDgFy82oaqc5", ["Yes"]),
        ("call", "call_979a1f980f9b", "question", {"questions": [QUESTION]}),
        (
            *("result", "call_979a1f980f9b"),
            ANSWERED,
            False,
        ),
        ("token", "done"),
        ("completed", 22, 14),
    ],
    "b_tool_error": [
        ("call", "call_bad5f339319a", "read", {"filePath": "/home/user/project/missing.txt"}),
        ("result", "call_bad5f339319a", "File not found: /home/user/project/missing.txt", True),
        ("token", "done"),
        ("completed", 22, 14),
    ],
    "b_tool_write_read": [
        (
            *("call", "call_cd8c105b85e2", "write"),
            {"filePath": "/home/user/project/a.txt", "content": "abc"},
        ),
        ("result", "call_cd8c105b85e2", "Wrote file successfully.", False),
        ("call", "call_8045be27f054", "read", {"filePath": "/home/user/project/a.txt"}),
        (
            *("result", "call_8045be27f054"),
            A_TXT,
            False,
        ),
        ("token", "done"),
        ("completed", 33, 21),
    ],
    "c_drop": [
        *(("token", "a "), ("token", "b ")),
        ("notice", "The model's server: Connection reset by server. Attempt 2 follows.", 2),
        ("token", "a "),
        ("notice", "The model's server: Connection reset by server. Attempt 3 follows.", 1),
        *(("token", "a "), ("token", "b ")),
        ("notice", "The model's server: Connection reset by server. Attempt 4 follows.", 2),
    ],
    "c_err_400": [("failed", "INVALID_ARGUMENT", "fake error 400", False)],
    "c_err_500x2": [
        ("notice", "The model's server: fake error 500. Attempt 2 follows.", 0),
        ("notice", "The model's server: fake error 500. Attempt 3 follows.", 0),
        ("token", "recovered"),
        ("completed", 11, 7),
    ],
    "d_abort_text": [
        *(("token", f"w{n} ") for n in range(4)),
        ("failed", "CANCELLED", "the reply was stopped", False),
    ],
    "e_delete_busy": [
        *(("token", f"F{n} ") for n in range(10)),
        ("failed", "CANCELLED", "the conversation was deleted", False),
    ],
    "e_two": [*tokens(" ".join(f"A{n}" for n in range(12))), ("completed", 11, 7)],
    "f_after_restart_sigkill": [*tokens("back again"), ("completed", 11, 7)],
    "f_kill_sigkill": [("token", f"w{n} ") for n in range(11)],
    "h_dir_global": [("token", "noDir"), ("completed", 11, 7)],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recording_yields_exactly_these_events(name: str) -> None:
    conversation = 1 if name == "e_two" and "A0" not in str(replay(name)) else 0
    assert replay(name, conversation) == EXPECTED[name]


def test_two_conversations_on_one_stream_are_kept_apart() -> None:
    texts = {shown(replay("e_two", number)) for number in range(2)}
    assert texts == {" ".join(f"{letter}{n}" for n in range(12)) for letter in "AB"}


@pytest.mark.parametrize("name", WHOLE)
def test_once_it_has_ended_nothing_follows(name: str) -> None:
    events = recorded(name)
    run = Run(conversations(events)[0], Baseline())
    play(run, events)
    end = run.end
    assert not [said for event in events for said in run.feed(event)]
    assert run.resync(state_after(events, conversations(events)[0])) == []
    assert run.end is end


@given(name=st.sampled_from(WHOLE), seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_whatever_comes_twice_is_told_once(name: str, seed: int) -> None:
    """Deltas are not repeated here, since a repeated delta repeats its text."""
    events = recorded(name)
    chance = random.Random(seed)
    doubled = []
    for number, event in enumerate(events):
        doubled.append(event)
        if chance.random() < 0.3:
            earlier = events[chance.randrange(number + 1)]
            if earlier["type"] not in ("message.part.delta", "session.status", "session.idle"):
                doubled.append(earlier)
    name_of = conversations(events)[0]
    assert play(Run(name_of, Baseline()), doubled) == play(Run(name_of, Baseline()), events)


@given(name=st.sampled_from([*WHOLE, "c_drop"]), data=st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_part_of_the_stream_is_missed_is_made_good(name: str, data: st.DataObject) -> None:
    """There are up to two gaps anywhere, each followed by a fetch of the server's state."""
    events = recorded(name)
    conversation = conversations(events)[0]
    # No gap is earlier, since the reply listens before its prompt is sent.
    first = next(n for n, event in enumerate(events) if event["type"] == "message.updated")
    edges = data.draw(st.lists(st.integers(first, len(events)), min_size=2, max_size=4))
    edges = sorted(edges[: len(edges) // 2 * 2])
    run = Run(conversation, Baseline())
    seen = [plain(said) for event in events[: edges[0]] for said in run.feed(event)]
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        run.lose()
        # The fetched state may be newer than the point where the stream continues.
        fetched = data.draw(st.integers(end, min(end + 5, len(events))))
        state = state_after(events[:fetched], conversation)
        seen += [plain(said) for said in run.resync(state)]
        after = next((edge for edge in edges if edge > end), len(events))
        assert begin <= end
        seen += [plain(said) for event in events[end:after] for said in run.feed(event)]
    if run.unsure:
        seen += [plain(said) for said in run.resync(state_after(events, conversation))]
    seen += ending(run)
    whole = play(Run(conversation, Baseline()), events)
    assert shown(seen) == shown(whole)
    assert seen[-1:] == whole[-1:] or name == "c_drop"
    for kind in ("call", "result"):
        told = [event for event in seen if event[0] == kind]
        assert sorted(told, key=str) == sorted([e for e in whole if e[0] == kind], key=str)
    opened = [event[1] for event in seen if event[0] == "ask"]
    assert len(opened) == len(set(opened))
    assert opened == [event[1] for event in seen if event[0] == "closed"]
