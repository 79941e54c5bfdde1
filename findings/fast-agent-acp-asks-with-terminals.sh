#!/usr/bin/env bash
# fast-agent 0.10.48 as an ACP agent with `--shell`: one would expect a client's `terminal` capability to decide where commands
# run, and nothing else. It also decides which tool the model gets, and whether a person is asked: without it the tool is another
# one and no permission is requested; with it, each command is asked about.
#
# A client that shows questions sees none until it offers terminals, and a scripted model must call another tool.
#
# Needs: bash, and Python 3.12 or newer with venv (PYTHON=...).
set -euo pipefail
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

"$python" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check fast-agent-mcp==0.10.48

# A model server that calls the first tool which takes a command, once for each session, and then says "done".
cat >model.py <<'PY'
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tools = [tool["function"] for tool in asked.get("tools") or []]
        shells = [tool["name"] for tool in tools if "command" in tool["parameters"].get("properties", {})]
        answered = any(message["role"] == "tool" for message in asked["messages"])
        delta, reason = {"role": "assistant", "content": "done"}, "stop"
        if shells and not answered:
            with open("tools", "a") as file:
                print(shells[0], file=file)
            call = {"name": shells[0], "arguments": json.dumps({"command": "echo hello"})}
            delta = {"role": "assistant", "tool_calls": [{"index": 0, "id": "1", "type": "function", "function": call}]}
            reason = "tool_calls"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        for choice in ({"index": 0, "delta": delta, "finish_reason": None}, {"index": 0, "delta": {}, "finish_reason": reason}):
            self.wfile.write(b"data: %s\n\n" % json.dumps(head | {"choices": [choice]}).encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
Path("model.part").write_text(f"http://127.0.0.1:{server.server_port}/v1")
Path("model.part").rename("model.url")
server.serve_forever()
PY
venv/bin/python model.py &
until [[ -s model.url ]]; do sleep 0.1; done

# A client: one prompt. It allows what it is asked, serves a terminal that has printed "hello", and prints what it was asked for.
cat >client.py <<'PY'
import json
import subprocess
import sys

command = ["../venv/bin/fast-agent-acp", "--model", "generic.m", "--shell"]
agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
served = {"terminal/create": {"terminalId": "1"}, "terminal/output": {"output": "hello\n", "truncated": False},
          "terminal/wait_for_exit": {"exitCode": 0, "signal": None}, "terminal/release": {}, "terminal/kill": {}}
asked = []

def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), file=agent.stdin, flush=True)

def serve(message):
    method, params = message["method"], message.get("params") or {}
    asked.append(method)
    if method == "session/request_permission":
        chosen = next(one for one in params["options"] if one["kind"] == "allow_once")
        send(id=message["id"], result={"outcome": {"outcome": "selected", "optionId": chosen["optionId"]}})
    elif method in served:
        send(id=message["id"], result=served[method])
    else:
        send(id=message["id"], error={"code": -32601, "message": "Method not found"})

def call(number, method, **params):
    send(id=number, method=method, params=params)
    for line in agent.stdout:
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if "method" in message and "id" in message:
            serve(message)
        elif message.get("id") == number:
            return message["result"]
    raise SystemExit("the agent has ended")

call(1, "initialize", protocolVersion=1, clientCapabilities={"terminal": sys.argv[1] == "terminals"})
session = call(2, "session/new", cwd=sys.argv[2], mcpServers=[])["sessionId"]
said = call(3, "session/prompt", sessionId=session, prompt=[{"type": "text", "text": "Say hello in a shell."}])
print("asked for:", " ".join(sorted(set(asked))) or "nothing", "| ended:", said["stopReason"])
agent.kill()
PY
mkdir project
echo "fast-agent-mcp $(venv/bin/python -c 'from importlib.metadata import version; print(version("fast-agent-mcp"))')"
for offered in nothing terminals; do
    : >tools
    seen=$(cd project && HOME="$work" GENERIC_BASE_URL=$(cat ../model.url) GENERIC_API_KEY=none \
        timeout 120 ../venv/bin/python ../client.py "$offered" "$work/project")
    echo "client offers $offered: the model calls $(sort -u tools | tr '\n' ' '); $seen"
    declare "tool_$offered=$(sort -u tools)" "seen_$offered=$seen"
done

[[ $seen_nothing == "asked for: nothing | ended: end_turn" ]]
[[ $seen_terminals == *session/request_permission*terminal/create*"ended: end_turn" ]]
[[ $tool_nothing != "$tool_terminals" ]]
echo "as expected: only a client that offers terminals is asked, and the tools differ"
