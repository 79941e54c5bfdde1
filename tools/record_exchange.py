"""Record what a service of the contract's first version answers; `test_old_client.py` replays it.

    python -m tools.record_exchange URL > tests/recorded/first_version.txt

URL is the WebSocket of a fresh service with the backend `echo` and the token `TOKEN` of
`tests/support/recording.py`. The last commit of the first version is 35b22f8:

    git worktree add FOLDER 35b22f8
    CALLBOARD_TOKEN=token-of-the-recording PYTHONPATH=FOLDER/src python -c \
        'from callboard_service.cli import main; main()' serve --backend echo

Before each frame that it sends, the client waits until the service has nothing more to say, so that
the order of the events does not depend on time.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from tests.support.recorder import Recorder
from tests.support.recording import TOKEN, written

WAITING: Final = 16
"""How many messages may wait in a conversation."""


def say(request_id: int, conversation: str, text: str, timeout_ms: int = 0) -> str:
    """Return a SendMessageRequest in text format."""
    message = f'session_id: "{conversation}" text: "{text}"'
    return f"request_id: {request_id} timeout_ms: {timeout_ms} send_message {{ {message} }}"


def history(request_id: int, conversation: str, more: str = "") -> str:
    """Return a GetHistoryRequest in text format."""
    return f'request_id: {request_id} get_history {{ session_id: "{conversation}" {more} }}'


def delete(request_id: int, conversation: str) -> str:
    """Return a DeleteSessionRequest in text format."""
    return f'request_id: {request_id} delete_session {{ session_id: "{conversation}" }}'


def answer(request_id: int, ask_id: str, *answers: str) -> str:
    """Return an AnswerRequest in text format."""
    chosen = " ".join(f'answers: "{text}"' for text in answers)
    return f'request_id: {request_id} answer {{ ask_id: "{ask_id}" {chosen} }}'


async def conversations(recorder: Recorder) -> None:
    """Create, list and delete."""
    client = await recorder.client()
    await client.call("request_id: 1 list_sessions { }")
    first = await client.call('request_id: 2 create_session { title: "first" }')
    await client.call("request_id: 3 create_session { }")
    await client.call("request_id: 4 list_sessions { }")
    await client.call(say(5, first.session_info.id, "hello there"))
    await client.call("request_id: 6 list_sessions { }")
    for number in (7, 8):
        await client.call(delete(number, first.session_info.id))
    await client.call("request_id: 9 list_sessions { }")


async def a_reply(recorder: Recorder) -> None:
    """Send a message without flow control, take the reply, acknowledge it, and read it again."""
    client = await recorder.client("acknowledges: true")
    name = await client.conversation("a reply")
    await client.call(say(2, name, "one two  three\\nfour"))
    await client.send(f"ack {{ sequence: {client.last.sequence} }}")
    await client.call(history(3, name))
    await client.call(say(4, name, "[[repeat:20]]"))
    await client.call(history(5, name))
    await client.call("request_id: 6 list_sessions { }")
    await client.silent()


async def every_kind_of_event(recorder: Recorder) -> None:
    """Take reasoning, tool calls, and text between them."""
    client = await recorder.client()
    name = await client.conversation()
    said = (
        'think [[reasoning:why not]] [[tool:read {\\"path\\": \\"a.txt\\"}]]then[[tool:stop]] end'
    )
    await client.call(say(2, name, said))
    await client.call(history(3, name))


async def credit(recorder: Recorder) -> None:
    """Take a reply two tokens at a time."""
    client = await recorder.client("initial_credit: 2")
    name = await client.conversation()
    await client.send(say(2, name, "one two three four five"))
    for limit in (4, 3, 6):
        if limit != 3:  # which raises nothing
            await client.take(2)
            await client.silent()
        await client.send(f"request_id: 2 credit {{ limit: {limit} }}")
    await client.ends(2)
    await client.send(say(3, name, "[[reasoning:hm]][[tool:look]][[ask:question]]bye"))
    await client.take(2)
    await client.silent()
    await client.send("request_id: 3 credit { limit: 100 }")
    ask = await client.until("ask")
    await client.send(answer(3, ask.ask.ask_id, "no"))
    await client.ends(3)


async def asks(recorder: Recorder) -> None:
    """Give each kind of answer to each kind of ask, and answers that are ignored."""
    client = await recorder.client()
    name = await client.conversation()
    number = 1
    for kind, *answers in (
        ("permission", "once"), ("permission", "always"), ("permission", "reject"), ("permission",),
        ("question", "yes"), ("question", "in my own words"), ("question",),
    ):  # fmt: skip
        number += 1
        await client.send(say(number, name, f"before [[ask:{kind}]] after"))
        ask = (await client.until("ask")).ask
        await client.send(answer(number, "no-such-ask", "once"))
        await client.silent()
        await client.send(answer(number, ask.ask_id, *answers))
        await client.ends(number)
        await client.send(answer(number, ask.ask_id, "too late"))
        await client.silent()
    await client.call(history(number + 1, name))


async def answers_that_are_not_allowed(recorder: Recorder) -> None:
    """Answer a permission with none of its options, and a question with two."""
    client = await recorder.client()
    name = await client.conversation()
    for number, kind, wrong in ((2, "permission", ("perhaps",)), (3, "question", ("yes", "no"))):
        await client.send(say(number, name, f"[[ask:{kind}]]"))
        ask = (await client.until("ask")).ask
        await client.send(answer(number, ask.ask_id, *wrong))
        await client.until("notice")
        await client.send(answer(number, ask.ask_id, ask.options[0]))
        await client.ends(number)


async def cancelled(recorder: Recorder) -> None:
    """Cancel replies that wait for an answer, for credit and for a time; and ended ones."""
    client = await recorder.client("initial_credit: 5")
    number = 1
    for text, count in (
        ("one two [[tool:look]][[ask:permission]] three", 5),
        ("a b c d e f g", 5),
        ("one[[delay:3600000]] two", 1),
    ):
        name = await client.conversation(number=number)
        await client.send(say(number + 1, name, text))
        await client.take(count)
        await client.send(f"request_id: {number + 1} cancel {{ }}")
        await client.ends(number + 1)
        await client.send(f"request_id: {number + 1} cancel {{ }}")
        await client.call(delete(number + 2, name))
        number += 3
    await client.send("request_id: 99 cancel { }")
    await client.silent()


async def history_of_a_cancelled_reply(recorder: Recorder) -> None:
    """Read what is kept of a reply that was cancelled while another message waited."""
    client = await recorder.client()
    name = await client.conversation()
    await client.send(say(2, name, "one two [[ask:permission]] three"))
    await client.until("ask")
    await client.send(say(3, name, "once more"))
    await client.notices(3)
    await client.send("request_id: 2 cancel { }")
    await client.ends(2, 3)
    await client.call(history(4, name))


async def deadline(recorder: Recorder) -> None:
    """Let a reply reach its deadline."""
    client = await recorder.client()
    name = await client.conversation()
    await client.call(say(2, name, "[[delay:3600000]]never", timeout_ms=50))
    await client.call(delete(3, name))


async def failed_replies(recorder: Recorder) -> None:
    """Take replies that end with an error, and read them again."""
    client = await recorder.client()
    name = await client.conversation()
    for number, code in enumerate(("INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED"), start=2):
        await client.call(say(number, name, f"so far [[error:{code}]] so good"))
    await client.call(say(5, name, "so far [[crash]] so good"))
    await client.call(say(6, name, "well"))
    await client.call(history(7, name))


async def refused_requests(recorder: Recorder) -> None:
    """Name conversations and entries that do not exist, and say nothing."""
    client = await recorder.client()
    name = await client.conversation()
    await client.call(delete(2, "no-such-id"))
    await client.call(history(3, "no-such-id"))
    await client.call(say(4, "no-such-id", "hello"))
    await client.call(say(5, name, " "))
    await client.call(history(6, name, 'before: "no-such-entry"'))
    await client.call(history(7, name))
    await client.call('request_id: 8 call { type_url: "type.googleapis.com/example.Nothing" }')
    await client.call("request_id: 9")


async def pages(recorder: Recorder) -> None:
    """Read a history page by page, from the newest."""
    client = await recorder.client()
    name = await client.conversation()
    for number, text in enumerate(("one", "two", "three"), start=2):
        await client.call(say(number, name, text))
    before, number = "", 5
    while True:
        page = (await client.call(history(number, name, f"limit: 3 {before}"))).history
        before, number = f'before: "{page.entries[0].id}"', number + 1
        if not page.more:
            break


async def queued(recorder: Recorder) -> None:
    """Send messages to a conversation that is busy; they are answered one after the other."""
    client = await recorder.client()
    name = await client.conversation()
    await client.send(say(2, name, "first [[ask:question]] reply"))
    ask = (await client.until("ask")).ask
    for number, text in ((3, "second reply"), (4, "never said"), (5, "[[reasoning:third]] reply")):
        await client.send(say(number, name, text))
    await client.notices(3, 4, 5)
    await client.send("request_id: 4 cancel { }")
    await client.ends(4)
    await client.call("request_id: 6 list_sessions { }")
    await client.call(history(7, name))
    await client.send(answer(2, ask.ask_id, "yes"))
    await client.ends(2, 3, 5)
    await client.call(history(8, name))


async def too_many_messages(recorder: Recorder) -> None:
    """Send one message more than may wait, then delete the conversation."""
    client = await recorder.client()
    name = await client.conversation()
    await client.send(say(2, name, "[[ask:question]]"))
    await client.until("ask")
    waiting = range(3, 3 + WAITING)
    for number in waiting:
        await client.send(say(number, name, f"message {number}"))
    await client.notices(*waiting)
    await client.call(say(3 + WAITING, name, "one too many"))
    await client.send(delete(4 + WAITING, name))
    await client.ends(2, *waiting, 4 + WAITING)


async def deleted_while_it_replies(recorder: Recorder) -> None:
    """Delete a conversation from another session while a reply waits for an answer."""
    one, other = await recorder.client(), await recorder.client()
    name = await one.conversation()
    await one.send(say(2, name, "wait [[ask:permission]]"))
    await one.until("ask")
    await other.send(delete(1, name))
    await one.ends(2)
    await other.ends(1)
    await one.call(history(3, name))


async def resumed(recorder: Recorder) -> None:
    """Cut the connection in a reply that waits for credit, and take the session up again."""
    client = await recorder.client("initial_credit: 2")
    welcome = client.last.welcome
    name = await client.conversation()
    await client.send(say(2, name, "one two three [[ask:question]] four"))
    await client.take(2)
    await client.cut()
    client = await recorder.client("initial_credit: 2", 2, welcome.resume_token)
    await client.take()
    await client.send("request_id: 2 credit { limit: 100 }")
    ask = (await client.until("ask")).ask
    await client.cut()
    asked = client.last.sequence
    client = await recorder.client("initial_credit: 2", asked, welcome.resume_token)
    await client.send("request_id: 2 credit { limit: 100 }")
    await client.send(answer(2, ask.ask_id, "maybe"))
    await client.ends(2)
    await client.cut()
    client = await recorder.client("initial_credit: 2", asked, welcome.resume_token)
    await client.ends(2)
    await client.silent()


async def not_resumed(recorder: Recorder) -> None:
    """Lack answers that are not kept, invent a session, and be taken over by a connection."""
    client = await recorder.client()
    welcome = client.last.welcome
    await client.conversation()
    await client.call("request_id: 2 list_sessions { }")
    await client.cut()
    client = await recorder.client("", 1, welcome.resume_token)
    await client.take()
    await client.cut()
    await recorder.client("", 0, welcome.resume_token)
    client = await recorder.client("", 3, b"no such token")
    welcome = client.last.welcome
    await client.conversation()
    other = await recorder.client("", 1, welcome.resume_token)
    await client.closed()
    await other.call("request_id: 2 list_sessions { }")


async def violations(recorder: Recorder) -> None:
    """Break the rules for which the service closes the connection."""
    client = await recorder.opened()
    await client.send('hello { token: "another-token-than-the-right-one" }')
    await client.closed()
    client = await recorder.opened()
    await client.send("request_id: 1 list_sessions { }")
    await client.closed()
    for frame in (f'hello {{ token: "{TOKEN}" }}', "list_sessions { }"):
        client = await recorder.client()
        await client.send(frame)
        await client.closed()
    client = await recorder.client()
    await client.conversation()
    await client.send("request_id: 1 list_sessions { }")
    await client.closed()


SCRIPTS: Final[dict[str, Callable[[Recorder], Awaitable[None]]]] = {
    "conversations are created, listed and deleted": conversations,
    "a reply": a_reply,
    "reasoning and tool calls": every_kind_of_event,
    "a reply within its credit": credit,
    "asks and their answers": asks,
    "answers that are not allowed": answers_that_are_not_allowed,
    "cancelled replies": cancelled,
    "the history of a cancelled reply": history_of_a_cancelled_reply,
    "a reply that reaches its deadline": deadline,
    "replies that fail": failed_replies,
    "refused requests": refused_requests,
    "a history in pages": pages,
    "messages that wait for their turn": queued,
    "too many messages": too_many_messages,
    "a conversation is deleted while it replies": deleted_while_it_replies,
    "a session is resumed": resumed,
    "a session is not resumed, or taken over": not_resumed,
    "violations of the protocol": violations,
}


async def main(url: str) -> str:
    """Record all exchanges, and return the text of the recording."""
    exchanges = []
    for title, script in SCRIPTS.items():
        recorder = Recorder(url, title)
        async with asyncio.timeout(30):
            await script(recorder)
        await recorder.end()
        exchanges.append(recorder.exchange)
    return written(exchanges)


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(main(sys.argv[1])))
