"""The commands of `callboard chat`, on a terminal of 80 columns, against a real service."""

from pathlib import Path

from tests.e2e.service_process import ServiceProcess, told
from tests.e2e.terminal import Terminal, talking

HELD = "go [[steer]]end"
"""A reply that says "go" and then waits for a message that is handed to it."""


def begin(terminal: Terminal) -> None:
    """Start a reply that is held, and wait for its first word."""
    terminal.prompt()
    terminal.type(HELD)
    terminal.until("go ")


def line(terminal: Terminal, text: str, shown: str) -> str:
    """Type a line while a reply runs; return what is shown up to this text."""
    terminal.type(text)
    return terminal.until(shown)


def test_messages_are_queued_moved_changed_and_dropped_while_a_reply_runs(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    with talking(tmp_path, shared) as terminal:
        begin(terminal)
        for place, text in enumerate(("one", "two", "three"), 1):
            line(terminal, text, f"queued, place {place};")
        assert "  1.  one\n  2.  two\n" in line(terminal, "/queue", "  3.  three")
        moved = line(terminal, "/queue move 3 1", "  3.  two")
        assert moved.endswith("  1.  three\n  2.  one\n")
        line(terminal, "/queue edit 2 changed", "place 2 is now: changed")
        line(terminal, "/queue drop 3", "dropped: two")
        line(terminal, "/queue drop 3", "there are only 2 queued messages")
        line(terminal, "/steer on", "> steered: on")
        rest = terminal.prompt()
        assert rest.endswith("onend\n\n> three\nthree\n\n> changed\nchanged\n\n")
        assert terminal.say("/queue") == ["no message waits"]


def test_a_reply_is_cut_off_for_another_message(shared: ServiceProcess, tmp_path: Path) -> None:
    with talking(tmp_path, shared) as terminal:
        begin(terminal)
        terminal.type("/interrupt this instead")
        assert terminal.prompt().endswith("cancelled\n\n> this instead\nthis instead\n\n")


def test_a_message_is_changed_in_a_copy_and_a_failed_one_tried_again(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    with talking(tmp_path, shared) as terminal:
        terminal.prompt()
        for text in ("one", "two"):
            terminal.say(text)
        assert terminal.say("/fork")[0] == "in a copy now: one"
        assert terminal.say("/edit three")[-1] == "three"
        assert terminal.say("/retry")[-2:] == ["> three", "three"]
        assert terminal.say("so [[error:UNAVAILABLE]]")[-1].startswith("UNAVAILABLE")
        again = terminal.say("/retry")
        assert again[0] == "> so [[error:UNAVAILABLE]]"
        terminal.say("/rename Kept")
        listed = told(shared, tmp_path, "sessions", "list")[1].splitlines()
        copy = listed[1].split()[0]
        assert listed[1].endswith("Kept")
        shown = told(shared, tmp_path, "sessions", "show", copy)[1]
        assert [text for text in shown.split("\n\n") if text in ("one", "two", "three")] == [
            "one", "one", "three", "three",
        ]  # fmt: skip
        assert shown.count("[[error:UNAVAILABLE]]") == 1
        assert terminal.say("/archive")[0] == "archived; this brings it back:"
        assert "Kept" not in told(shared, tmp_path, "sessions", "list")[1]


def test_a_model_is_chosen_and_a_command_of_the_backend_is_sent(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    with talking(tmp_path, shared) as terminal:
        terminal.prompt()
        assert "/shout" in terminal.say("/help")[-1]
        assert terminal.say("/shout hello") == ["HELLO"]
        assert terminal.say("/shuot hello")[0].startswith("there is no command /shuot")
        assert terminal.say("//shuot hello") == ["/shuot hello"]
        assert terminal.say("/model lo") == ["model: Loud"]
        assert terminal.say("hello") == ["HELLO"]
        assert terminal.say("/model")[1] == "  *2.  loud  Loud  Repeats it in capitals"


def test_files_go_with_the_next_message(shared: ServiceProcess, tmp_path: Path) -> None:
    """A small file is sent in the message, one that is larger than a frame is uploaded."""
    (tmp_path / "a b.png").write_bytes(b"\x89PNG" * 1000)
    (tmp_path / "long.txt").write_text("a line\n" * 300_000)
    with talking(tmp_path, shared) as terminal:
        terminal.prompt()
        shown = terminal.say("/attach a b.png")
        assert shown == ["for the next message: [image a b.png, 3.9 KiB] image/png"]
        terminal.say("/attach long.txt")
        assert terminal.say("/attach") == [
            "1.  [image a b.png, 3.9 KiB]  image/png",
            "  2.  [file long.txt, 2.0 MiB]  text/plain",
        ]
        assert terminal.say("look")[-1].endswith("look")
        assert terminal.say("/attach") == ["nothing is attached to the next message"]
    with talking(tmp_path, shared, "--continue") as terminal:
        recalled = terminal.prompt()
        assert "> look\n> [image a b.png, 3.9 KiB]\n> [file long.txt, 2.0 MiB]\n" in recalled
