from prometheus_client import CollectorRegistry, generate_latest

from actors import Code, Failure
from actors.protocol.frames import COMPLETED
from callboard.v1.chat_pb2 import ChatCompleted
from callboard_service.request_counts import RequestCounts


def exposed(counts: RequestCounts) -> list[str]:
    registry = CollectorRegistry()
    registry.register(counts)
    return generate_latest(registry).decode().splitlines()


def test_each_request_is_in_its_code_and_in_every_bucket_from_its_own_on() -> None:
    counts = RequestCounts()
    counts.request_ended("Say", ChatCompleted(input_tokens=2, output_tokens=5), 0.3, 7)
    counts.request_ended("Say", Failure(Code.ABORTED, ""), 0.0, 0.0)
    counts.request_ended("Say", COMPLETED, 400, 400)
    lines = exposed(counts)
    for line in (
        'callboard_requests_total{code="OK",type="Say"} 2.0',
        'callboard_requests_total{code="ABORTED",type="Say"} 1.0',
        'callboard_first_answer_seconds_bucket{le="0.1",type="Say"} 1.0',
        'callboard_first_answer_seconds_bucket{le="0.5",type="Say"} 2.0',
        'callboard_last_answer_seconds_bucket{le="5.0",type="Say"} 1.0',
        'callboard_last_answer_seconds_bucket{le="10.0",type="Say"} 2.0',
        'callboard_last_answer_seconds_bucket{le="+Inf",type="Say"} 3.0',
        'callboard_last_answer_seconds_sum{type="Say"} 407.0',
        'callboard_tokens_total{kind="input"} 2.0',
        'callboard_tokens_total{kind="output"} 5.0',
    ):
        assert line in lines
    assert counts.ended == 3
    assert counts.tokens == {"input": 2, "output": 5}


def test_a_bound_belongs_to_its_own_bucket() -> None:
    counts = RequestCounts()
    counts.request_ended("Say", COMPLETED, 0.001, 0.001)
    assert 'callboard_last_answer_seconds_bucket{le="0.001",type="Say"} 1.0' in exposed(counts)
