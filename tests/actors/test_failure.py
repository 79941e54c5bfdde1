from actors import Code, Failure


def test_a_failure_reads_as_its_code_and_its_sentence() -> None:
    assert str(Failure(Code.NOT_FOUND, "no such city")) == "NOT_FOUND: no such city"


def test_a_failure_carries_what_its_catcher_needs() -> None:
    failure = Failure(Code.UNAVAILABLE, "busy", retryable=True, retry_after_ms=20)
    assert (failure.code, failure.message) == (Code.UNAVAILABLE, "busy")
    assert (failure.retryable, failure.retry_after_ms) == (True, 20)


def test_without_advice_it_is_not_to_be_sent_again() -> None:
    failure = Failure(Code.INTERNAL, "no")
    assert (failure.retryable, failure.retry_after_ms) == (False, 0)
