"""A message says to which turn it belongs, by its id or, in a copy, by the metadata of a part."""

from typing import Any

from callboard_service.backends.opencode.marks import (
    Mark,
    fork_metadata,
    handed_id_of,
    mark_of,
    message_id_of,
    parent_of,
    part_mark_of,
    source_model_of,
    turn_id_of,
)

TURN = "0123456789abcdef" * 2


def said(message_id: str, **part: Any) -> dict[str, Any]:
    return {"info": {"id": message_id}, "parts": [{"type": "text"}, {"type": "text", **part}]}


def test_a_message_s_id_names_its_turn() -> None:
    """Ids of OpenCode's own clients name none."""
    assert turn_id_of(message_id_of(TURN)) == TURN
    for other in ("", "msg_", "msg_204ed4f3d001JRgs5pejSwoHI8", f"msg_{TURN}0", f"prt_{TURN}"):
        assert turn_id_of(other) == ""
        assert mark_of(said(other)) == Mark()
    assert message_id_of("") == ""


def test_a_message_that_is_handed_to_a_turn_is_told_from_the_turn_s_own() -> None:
    """Ids are in the order in which the messages were handed over, and each name has its own."""
    ids = [handed_id_of(TURN, "z", 0), handed_id_of(TURN, "a", 1), handed_id_of(TURN, "b", 1)]
    assert ids == sorted(ids[:2]) + ids[2:]
    assert len({*ids, message_id_of(TURN)}) == 4
    for message_id in ids:
        assert turn_id_of(message_id) == TURN
        assert mark_of(said(message_id)).handed
    assert not mark_of(said(message_id_of(TURN))).handed


def test_metadata_of_a_part_survives_a_copy() -> None:
    """What is not of this form is ignored."""
    for mark in (Mark(TURN), Mark(TURN, "name")):
        assert mark_of(said("msg_copied", metadata=mark.metadata())) == mark
    assert part_mark_of(said(message_id_of(TURN))) == Mark()
    odd: list[Any] = [1, {"callboard": 1}, {"callboard": {"turn": 1}}, {"callboard": {}}, {"x": {}}]
    for metadata in odd:
        assert mark_of(said("msg_other", metadata=metadata)) == Mark()


def test_a_copy_knows_its_source_and_a_copy_of_it_by_others_does_not() -> None:
    """Metadata of others is kept."""
    model = {"providerID": "p", "id": "m"}
    source = {"id": "ses_1", "model": model}
    copy: dict[str, Any] = {"id": "ses_2", "metadata": {"theirs": 1, "callboard": {"old": 1}}}
    copy["metadata"] = fork_metadata(copy, source)
    assert copy["metadata"]["theirs"] == 1
    assert (parent_of(copy), source_model_of(copy)) == ("ses_1", model)
    again = {"id": "ses_3", "metadata": fork_metadata({"id": "ses_3"}, copy)}
    assert (parent_of(again), source_model_of(again)) == ("ses_2", model)
    assert parent_of({**copy, "id": "ses_4"}) == ""
    assert parent_of({"id": "ses_1"}) == parent_of({}) == ""
