from random import Random

import pytest

from actors.protocol.block import frames
from actors.protocol.encoding import Encoded
from actors.protocol.flow_control import CLOSE, REFUSE, WAIT
from actors.protocol.limits import SessionLimits
from actors.protocol.output import Output
from actors.protocol.send_queue import FEW

ALL = 1 << 30


def output(*, acknowledges: bool = False, **limits: int) -> Output:
    chosen = {"outbox_bytes": 100, "resume_buffer_messages": 10, "resume_buffer_bytes": 1000}
    made = Output(SessionLimits(**(chosen | limits)))
    made.flow.connected, made.flow.acknowledges = True, acknowledges
    return made


def held(out: Output) -> int:
    return out.queue.sequence - out.replay.acknowledged


def fill(out: Output, count: int, size: int = 5) -> None:
    for _ in range(count):
        out.queue.put(str(out.queue.sequence + 1).encode().ljust(size))


def numbers(frames: list[bytes]) -> list[int]:
    return [int(frame) for frame in frames]


# -- order ---------------------------------------------------------------------------------------


def test_answers_leave_in_order_by_bytes() -> None:
    out = output()
    fill(out, 5)
    assert out.queue.sequence == 5
    assert numbers(out.take(10)) == [1, 2]
    assert numbers(out.take(9)) == [3]
    assert numbers(out.take(0)) == [4]
    assert numbers(out.take(ALL)) == [5]
    assert out.take(ALL) == []
    assert (out.queue.size, out.flow.size, held(out)) == (0, 25, 5)


def test_what_goes_aside_goes_first_and_is_not_kept() -> None:
    out = output()
    fill(out, 1)
    out.put_aside(b"ping")
    out.put_aside(b"pong")
    assert out.flow.unsent == 3
    assert out.take(4) == [b"ping"]
    assert out.take(ALL) == [b"pong", b"1    "]
    assert (out.flow.unsent, held(out)) == (0, 1)


def test_what_goes_aside_ends_with_the_connection() -> None:
    out = output()
    out.put_aside(b"pong")
    out.detach()
    out.put_aside(b"to nobody")
    assert (out.flow.unsent, out.flow.connected) == (0, False)


# -- room ----------------------------------------------------------------------------------------


def test_an_outbox_full_of_bytes_is_drained_when_it_is_half_empty() -> None:
    out = output()
    fill(out, 1, 99)
    assert out.flow.verdict() < WAIT
    fill(out, 1, 1)
    assert out.flow.verdict() >= WAIT
    assert not out.flow.may_go_on()
    out.take(0)
    assert out.flow.may_go_on()


def test_an_outbox_full_of_messages_is_drained_when_it_is_half_empty() -> None:
    out = output()
    fill(out, 10, 2)
    assert out.flow.verdict() >= WAIT
    out.take(8)
    assert out.flow.verdict() < WAIT
    assert not out.flow.may_go_on()
    out.take(2)
    assert out.flow.may_go_on()


@pytest.mark.parametrize(("count", "size"), [(10, 5), (4, 250)])
def test_without_acknowledgement_the_oldest_leave(count: int, size: int) -> None:
    out = output()
    for _ in range(3 * count):
        fill(out, 1, size)
        out.take(ALL)
        assert out.flow.verdict() < WAIT
    assert held(out) == count
    assert out.replay.acknowledged == 2 * count
    assert out.flow.size == count * size <= 1000
    assert not out.flow.lacks_ack()


@pytest.mark.parametrize(("count", "size"), [(10, 5), (4, 250)])
def test_with_acknowledgement_it_is_full_until_an_ack(count: int, size: int) -> None:
    out = output(acknowledges=True)
    for _ in range(count):
        assert out.flow.verdict() < WAIT
        fill(out, 1, size)
        out.take(ALL)
    assert out.flow.verdict() >= WAIT
    assert out.flow.lacks_ack()
    assert not out.flow.may_go_on()
    out.acknowledge(1)
    assert out.flow.verdict() < WAIT
    assert not out.flow.lacks_ack()
    assert out.flow.may_go_on()
    assert (held(out), out.replay.acknowledged) == (count - 1, 1)


@pytest.mark.parametrize("acknowledges", [True, False])
def test_while_nobody_is_there_nothing_leaves_and_it_fills(acknowledges: bool) -> None:
    out = output(acknowledges=acknowledges, outbox_bytes=1)
    fill(out, 3)
    out.take(ALL)
    out.detach()
    for _ in range(7):
        assert out.flow.verdict() < WAIT
        assert out.flow.may_go_on()
        fill(out, 1)
    assert out.flow.verdict() >= WAIT
    assert not out.flow.may_go_on()
    assert not out.flow.lacks_ack()
    assert out.resume(0)
    assert numbers(out.take(ALL)) == [*range(1, 11)]


def test_an_ack_of_nothing_new_or_of_what_was_never_sent_changes_nothing() -> None:
    out = output(acknowledges=True)
    fill(out, 5)
    out.take(15)
    out.acknowledge(2)
    for sequence in (0, 1, 2, 4, 5, 2**63):
        out.acknowledge(sequence)
        assert (out.replay.acknowledged, out.flow.size) == (2, 15)
    out.acknowledge(3)
    assert out.replay.acknowledged == 3


def test_twice_the_buffer_unread_is_too_much_for_another_request() -> None:
    out = output()
    fill(out, 1, 1999)
    assert out.flow.verdict() < REFUSE
    fill(out, 1, 1)
    assert out.flow.verdict() >= REFUSE
    out.take(0)
    assert out.flow.verdict() < REFUSE  # the oldest answers are dropped
    acknowledging = output(acknowledges=True)
    fill(acknowledging, 2, 1000)
    acknowledging.take(ALL)
    assert acknowledging.flow.verdict() >= REFUSE
    acknowledging.acknowledge(1)
    assert acknowledging.flow.verdict() < REFUSE


def test_four_times_the_messages_unread_close_the_connection() -> None:
    out = output()
    fill(out, 39, 1)
    assert out.flow.verdict() is not CLOSE
    out.put_aside(b"")
    assert out.flow.verdict() is CLOSE


@pytest.mark.parametrize(
    ("connected", "acknowledges", "room"),
    [
        (True, False, (10 - 2, 100 - 10)),  # answers that were taken need not be kept
        (True, True, (10 - 5, 100 - 10)),
        (False, False, (10 - 5, 1000 - 25)),  # without a connection, everything is kept
        (False, True, (10 - 5, 1000 - 25)),
    ],
)
def test_room_is_what_neither_outbox_nor_buffer_has_filled(
    connected: bool, acknowledges: bool, room: tuple[int, int]
) -> None:
    out = output(acknowledges=acknowledges)
    fill(out, 5)
    out.take(15)
    if not connected:
        out.detach()
    assert out.flow.room() == room


# -- resume --------------------------------------------------------------------------------------


def test_a_resume_sends_again_what_was_not_handled_and_nothing_else() -> None:
    out = output(acknowledges=True)
    fill(out, 8)
    out.take(25)
    out.acknowledge(2)
    out.detach()
    assert out.resume(3)
    assert (out.replay.acknowledged, out.queue.size, out.flow.size) == (3, 25, 25)
    assert numbers(out.take(ALL)) == [4, 5, 6, 7, 8]
    assert out.resume(8)
    assert (held(out), out.flow.size, out.take(ALL)) == (0, 0, [])


@pytest.mark.parametrize("after", [0, 1, 6, 8, 9, 2**64 - 1])
def test_a_resume_with_a_gap_or_from_the_future_changes_nothing(after: int) -> None:
    out = output(acknowledges=True)
    fill(out, 8)
    out.take(25)
    out.acknowledge(2)
    before = (out.replay.acknowledged, held(out), out.flow.size, out.queue.size)
    assert not out.resume(after)
    assert before == (out.replay.acknowledged, held(out), out.flow.size, out.queue.size)
    assert numbers(out.take(ALL)) == [6, 7, 8]


def test_what_is_taken_while_nobody_is_there_stays_too() -> None:
    out = output()
    fill(out, 15)
    out.detach()
    out.take(ALL)
    assert (held(out), out.replay.acknowledged) == (15, 0)
    assert out.resume(0)


# -- answers that were encoded together ----------------------------------------------------------


def fill_block(out: Output, count: int, size: int = 5) -> None:
    encoded = Encoded()
    for number in range(out.queue.sequence + 1, out.queue.sequence + 1 + count):
        encoded.pieces += (b"", str(number).encode().ljust(size))
        encoded.lengths.append(size)
    out.queue.add_all(encoded)


def test_a_block_leaves_in_one_piece_and_counts_as_its_answers() -> None:
    out = output(acknowledges=True)
    fill(out, 1)
    fill_block(out, 3)
    assert (out.queue.sequence, out.flow.unsent, held(out), out.queue.size) == (4, 4, 4, 20)
    first, block = out.take(ALL)
    assert (int(first), numbers(list(frames([block])))) == (1, [2, 3, 4])
    assert (out.flow.unsent, held(out), out.flow.size) == (0, 4, 20)


def test_many_that_leave_at_once_are_kept_in_one_piece() -> None:
    out = output(acknowledges=True, resume_buffer_messages=100)
    fill(out, FEW + 1)
    (piece,) = out.take(ALL)
    assert numbers(list(frames([piece]))) == [*range(1, FEW + 2)]
    out.acknowledge(FEW)
    assert (held(out), out.flow.size) == (1, 5)
    assert out.resume(FEW)
    assert numbers(out.take(ALL)) == [FEW + 1]


def test_pieces_that_are_frames_stay_apart() -> None:
    out = output()
    encoded = Encoded()
    encoded.pieces, encoded.lengths = [b"1", b"2"], [1, 1]
    out.queue.add_all(encoded)
    out.queue.add_all(Encoded())
    assert out.take(ALL) == [b"1", b"2"]


@pytest.mark.parametrize("acknowledges", [True, False])
@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_blocks_are_cut_wherever_a_border_falls_into_them(block: int, acknowledges: bool) -> None:
    one_by_one, together = (
        output(acknowledges=acknowledges, resume_buffer_bytes=45, outbox_bytes=1000)
        for _ in range(2)
    )
    dice = Random(block)
    for _ in range(300):
        room, which = dice.randrange(0, 40), dice.randrange(5)
        after = one_by_one.replay.acknowledged + dice.randrange(-1, 12)
        results: list[object] = []
        for out, many in ((one_by_one, fill), (together, fill_block)):
            if which == 0:
                many(out, block)
            elif which == 1:
                fill(out, 1, 9)
            elif which == 2:
                out.acknowledge(after)
            elif which == 3:
                results.append(b"".join(out.take(room)))
            else:
                results.append(out.resume(after))
            results.append(
                (out.replay.acknowledged, held(out), out.flow.size, out.queue.size,
                 out.flow.unsent, out.flow.verdict(), out.flow.room())
            )  # fmt: skip
        half = len(results) // 2
        assert results[:half] == results[half:]
