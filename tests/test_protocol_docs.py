"""docs/protocol.md agrees with the contract and the code."""

import re
from pathlib import Path

from google.protobuf import text_format

from actors.requests.duplex import INPUT_WINDOW
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Hello, Limits
from callboard_service.chat.admission import MAX_WAITING
from callboard_service.settings import Settings
from transport.client.comeback import comes_back
from transport.codes import CloseCode

TEXT = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")
FRAME = re.compile(r"^([→←]) ((?:[0-9a-f]{2}\s+)+)(\S.*)$", re.MULTILINE)


def exchange() -> list[ClientMessage | ServerMessage]:
    """Decode the frames of the worked exchange, and check each against its text."""
    frames: list[ClientMessage | ServerMessage] = []
    for block in re.findall(r"```hex\n(.*?)```", TEXT, re.DOTALL):
        for arrow, digits, said in FRAME.findall(block):
            data = bytes.fromhex(digits)
            kind = ClientMessage if arrow == "→" else ServerMessage
            message = kind.FromString(data)
            assert text_format.MessageToString(message, as_one_line=True) == said
            assert message.SerializeToString() == data
            frames.append(message)
    return frames


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this heading."""
    after = TEXT.split(f"| {heading} |", 1)[1]
    table = after.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_frame_of_the_exchange_is_what_is_said_below_it() -> None:
    assert len(exchange()) == TEXT.count("\n→ ") + TEXT.count("\n← ") == 15


def test_the_exchange_keeps_the_rules() -> None:
    frames = exchange()
    hellos = [f.hello for f in frames if isinstance(f, ClientMessage) and f.HasField("hello")]
    welcomes = [f.welcome for f in frames if isinstance(f, ServerMessage) and f.HasField("welcome")]
    answers = [f for f in frames if isinstance(f, ServerMessage) and f.request_id]
    assert [welcome.resumed for welcome in welcomes] == [False, True]
    assert welcomes[0].resume_token == hellos[1].resume.resume_token == welcomes[1].resume_token
    assert [answer.sequence for answer in answers] == [1, 2, 3, 3, 4, 5]
    assert answers[3].sequence == hellos[1].resume.last_sequence + 1
    assert {a.request_id for a in answers if a.end} == {1, 2}
    assert welcomes[1].last_request_id == 2
    assert "".join(a.token.text for a in answers[1:3] + answers[4:5]) == "one two three"


def test_every_frame_of_the_exchange_between_two_clients_is_valid() -> None:
    lines = [
        line
        for block in re.findall(r"```frames\n(.*?)```", TEXT, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) == 19
    positions = []
    for line in lines:
        client, arrow, frame = line.split(" ", 2)
        assert client in "AB"
        kind = ClientMessage if arrow == "→" else ServerMessage
        parsed = text_format.Parse(frame, kind())
        if isinstance(parsed, ServerMessage) and parsed.HasField("event"):
            positions.append(parsed.event.position)
    assert positions == sorted(set(positions))


def test_the_close_codes_are_those_of_the_code() -> None:
    listed = {int(code): (name, back) for code, name, back, _ in rows("code | name")}
    assert {code: name for code, (name, _) in listed.items() if name} == {
        int(code): code.name for code in CloseCode
    }
    for code, (_, back) in listed.items():
        assert back == ("yes" if comes_back(code) else "no"), code


def test_the_limits_are_all_there_with_their_defaults() -> None:
    settings = Settings.model_construct()
    described: dict[str, str] = {}
    for names, defaults, _ in rows("`Limits`"):
        parts = re.findall(r"\d+(?:,\d{3})*", defaults)
        for name, default in zip(re.findall(r"`(\w+)`", names), parts, strict=True):
            described[name] = default.replace(",", "")
    assert set(described) == {field.name for field in Limits.DESCRIPTOR.fields}
    # These two are constants and not settings.
    assert int(described.pop("input_window")) == INPUT_WINDOW
    assert int(described.pop("max_queued_turns")) == MAX_WAITING
    for name, default in described.items():
        assert float(getattr(settings, name)) == float(default), name


def test_hello_is_described_whole() -> None:
    described = {name for row in rows("`Hello`") for name in re.findall(r"`(\w+)`", row[0])}
    assert described == {field.name for field in Hello.DESCRIPTOR.fields}
