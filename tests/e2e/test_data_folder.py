"""Two services are started on one data folder."""

import signal
from pathlib import Path

import pytest

from tests.e2e.service_process import run, running

_FLAGS = ("--backend", "openai", "--openai-base-url", "http://127.0.0.1:9/v1")


@pytest.mark.parametrize("flags", [_FLAGS, ("--backend", "echo")], ids=["openai", "echo"])
def test_a_second_service_on_a_data_folder_exits_with_2_and_names_the_first(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """It says in one line who uses the folder, and the first one is not disturbed."""
    with running(tmp_path, *flags) as first:
        code, out, err = run(tmp_path, "serve", *flags)
        assert (code, out) == (2, "")
        (line,) = [line for line in err.splitlines() if line.startswith("callboard: ")]
        assert line == (
            f"callboard: the data folder {tmp_path / 'data'} is in use by the service of process"
            f" {first.process.pid} at {first.url}"
        )
        assert first.process.poll() is None
        assert Path(first.ready["runtime_file"]).exists()


def test_a_data_folder_is_free_after_a_kill_and_after_a_stop(tmp_path: Path) -> None:
    """The file that a killed service leaves does not keep the next one out."""
    with running(tmp_path, *_FLAGS) as first:
        first.signal(signal.SIGKILL)
        first.process.wait()
        with running(tmp_path, *_FLAGS) as second:
            assert second.process.pid != first.process.pid
    with running(tmp_path, *_FLAGS):
        pass
