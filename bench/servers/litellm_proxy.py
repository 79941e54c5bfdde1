"""litellm's proxy in front of the model server; run with the Python of its own environment.

It is the command `litellm` as users run it, with one worker, one model and no database. A thread
prints the line with the address once the proxy lists its models.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

_QUIET: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MASTER_KEY": f"sk-{os.environ['CALLBOARD_TOKEN']}",
    "NO_PROXY": "*",
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _announce(port: int, out: int) -> None:
    """Write the ready line to this file descriptor as soon as the proxy answers."""
    url = f"http://127.0.0.1:{port}/v1/models"
    headers = {"Authorization": f"Bearer {_QUIET['LITELLM_MASTER_KEY']}"}
    while True:
        with contextlib.suppress(OSError), urlopen(Request(url, headers=headers), timeout=5):
            break
        time.sleep(0.2)
    ready = {"event": "ready", "url": f"http://127.0.0.1:{port}"}
    os.write(out, json.dumps(ready).encode() + b"\n")


def main() -> None:
    """Run the proxy until a signal ends it; whatever it prints goes to standard error."""
    os.environ.update(_QUIET)
    out = os.dup(1)
    os.dup2(2, 1)
    port = _free_port()
    behind = {"model": "openai/m", "api_base": os.environ["BENCH_MODEL_SERVER"], "api_key": "none"}
    config = {"model_list": [{"model_name": "m", "litellm_params": behind}]}
    Path("litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    threading.Thread(target=_announce, args=(port, out), daemon=True).start()
    where = ["--host", "127.0.0.1", "--port", str(port)]
    sys.argv = ["litellm", "--config", "litellm.yaml", *where]
    import_module("litellm").run_server()


if __name__ == "__main__":
    main()
