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


def test_a_failure_alone_holds_no_frames_and_no_other_error() -> None:
    try:
        try:
            raise ValueError
        except ValueError as error:
            raise Failure(Code.INTERNAL, "no") from error
    except Failure as raised:
        failure = raised
    held = (failure.__traceback__, failure.__context__, failure.__cause__)
    assert None not in held
    alone = failure.alone()
    assert alone is failure
    assert (alone.__traceback__, alone.__context__, alone.__cause__) == (None, None, None)
