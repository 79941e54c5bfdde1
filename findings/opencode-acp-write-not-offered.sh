#!/usr/bin/env bash
# OpenCode 1.18.33 as an ACP agent: one would expect `fs/write_text_file` only if the client has offered it, and then in place of
# writing. After each edit that is allowed, OpenCode sends it whatever the client has said in `initialize`, takes any answer, and
# writes the file itself in any case. An edit that needs no permission comes without the request, also if it was offered.
#
# So a client that writes what it is sent writes each such file a second time, and one that refuses refuses nothing.
#
# Needs: bash, and npm with Node.js 20 or newer.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund opencode-ai@1.18.33 >/dev/null

# A model that reads a file and edits it. Requests without tools are for titles.
cat >model.mjs <<'JS'
import http from "node:http";
import fs from "node:fs";
const file = process.cwd() + "/project/notes.txt";
const steps = [["read", { filePath: file }], ["edit", { filePath: file, oldString: "two", newString: "three" }]];
const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part)).on("end", () => {
    const { tools, messages = [] } = JSON.parse(Buffer.concat(parts).toString() || "{}");
    const [name, input] = (tools?.length > 0 && steps[messages.filter((one) => one.role === "assistant").length]) || [];
    const delta = name === undefined ? { content: "done" }
      : { tool_calls: [{ index: 0, id: `call_${name}`, type: "function", function: { name, arguments: JSON.stringify(input) } }] };
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (const [part, finish_reason] of [[{ role: "assistant", ...delta }, null], [{}, name === undefined ? "stop" : "tool_calls"]])
      response.write(`data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk", model: "m",
        choices: [{ index: 0, delta: part, finish_reason }] })}\n\n`);
    response.end("data: [DONE]\n\n");
  });
});
server.listen(0, "127.0.0.1", () => fs.writeFileSync("model.url", `http://127.0.0.1:${server.address().port}/v1`));
JS
node model.mjs &
until [[ -s model.url ]]; do sleep 0.1; done

# A client that allows every permission once, refuses every other request, and notes what was asked of it.
cat >client.mjs <<'JS'
import { spawn } from "node:child_process";
import readline from "node:readline";
const offered = process.argv[2] === "offered";
const agent = spawn("../node_modules/.bin/opencode", ["acp"], { stdio: ["pipe", "pipe", "ignore"] });
const waiting = new Map();
const asked = [];
let last = 0;
const send = (message) => agent.stdin.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n");
const call = (method, params) => new Promise((done) => {
  waiting.set(++last, done);
  send({ id: last, method, params });
});
readline.createInterface({ input: agent.stdout }).on("line", (line) => {
  let message;
  try { message = JSON.parse(line); } catch { return; }
  const { id, method, params } = message;
  if (method === undefined) return waiting.get(id)?.(message);
  if (id === undefined) return;
  asked.push(method);
  const once = params.options?.find((one) => one.kind === "allow_once");
  if (once) send({ id, result: { outcome: { outcome: "selected", optionId: once.optionId } } });
  else send({ id, error: { code: -32601, message: "Method not found" } });
});
await call("initialize", { protocolVersion: 1, clientCapabilities: { fs: { readTextFile: offered, writeTextFile: offered } } });
const { result: { sessionId } } = await call("session/new", { cwd: process.cwd(), mcpServers: [] });
await call("session/prompt", { sessionId, prompt: [{ type: "text", text: "change the notes" }] });
console.log(asked.join(", ") || "nothing");
agent.kill();
process.exit(0);
JS

mkdir -p home project config/opencode/node_modules
plugin='{"dependencies": {"@opencode-ai/plugin": "1.18.33"}}'
echo "$plugin" >config/opencode/package.json
echo '{"name": "opencode", "lockfileVersion": 3, "requires": true, "packages": {"": '"$plugin"'}}' >config/opencode/package-lock.json

change() { # have the notes changed: $1 offered or not, $2 OpenCode's permission for edits; prints what the client was asked
    printf 'one\ntwo\n' >project/notes.txt
    cat >opencode.json <<JSON
{"autoupdate": false, "share": "disabled", "permission": {"edit": "$2"}, "model": "own/m", "small_model": "own/m",
 "enabled_providers": ["own"], "provider": {"own": {"npm": "@ai-sdk/openai-compatible", "name": "Own",
  "options": {"baseURL": "$(cat model.url)", "apiKey": "none"},
  "models": {"m": {"tool_call": true, "limit": {"context": 128000, "output": 8192}}}}}}
JSON
    (cd project && HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_DATA_HOME="$work/data" XDG_STATE_HOME="$work/state" \
        XDG_CACHE_HOME="$work/cache" OPENCODE_CONFIG="$work/opencode.json" OPENCODE_DISABLE_AUTOUPDATE=1 \
        OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_LSP_DOWNLOAD=1 OPENCODE_DISABLE_DEFAULT_PLUGINS=1 \
        timeout 120 node ../client.mjs "$1")
    [[ $(<project/notes.txt) == $'one\nthree' ]] || { echo 'the file was not changed: the behaviour has changed' >&2; exit 1; }
}

echo "opencode-ai 1.18.33, node $(node --version)"
asked=()
for permission in ask allow; do
    for offer in 'not offered' offered; do
        asked+=("$(change "$offer" "$permission")")
        echo "fs $offer, edits: $permission. The client is asked: ${asked[-1]}. The file is changed."
    done
done
both='session/request_permission, fs/write_text_file'
[[ ${asked[0]} == "$both" && ${asked[1]} == "$both" && ${asked[2]} == nothing && ${asked[3]} == nothing ]] ||
    { echo 'the behaviour has changed'; exit 1; }
