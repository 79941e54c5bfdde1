#!/usr/bin/env bash
# OpenCode 1.18.33: one would expect every tool that changes a file to report the change in the same way. `edit` reports a unified
# diff in its part's `state.metadata.diff`; `write` reports none, even when it replaces a file that the model has read before: its
# metadata only says that the file existed, and the arguments hold the new content.
#
# A client that shows the diff of each call has to read the old content itself, or show what a `write` writes as a whole.
#
# Needs: bash, npm with Node.js, and curl.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund opencode-ai@1.18.33 >/dev/null

# A model that reads a file, replaces it, edits it, and then says so. Requests without tools are for titles.
cat >model.mjs <<'JS'
import http from "node:http";
import fs from "node:fs";
const file = process.cwd() + "/project/notes.txt";
const steps = [["read", { filePath: file }], ["write", { filePath: file, content: "one\nTWO\n" }],
  ["edit", { filePath: file, oldString: "TWO", newString: "three" }]];
let asked = 0;
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const step = JSON.parse(body || "{}").tools?.length > 0 ? steps[asked++] : undefined;
    const chunk = (delta, finish_reason) => response.write(`data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk",
      model: "m", choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    if (step) chunk({ role: "assistant", tool_calls: [{ index: 0, id: `call_${asked}`, type: "function",
      function: { name: step[0], arguments: JSON.stringify(step[1]) } }] }, null);
    else chunk({ role: "assistant", content: "done" }, null);
    chunk({}, step ? "tool_calls" : "stop");
    response.end("data: [DONE]\n\n");
  });
});
server.listen(0, "127.0.0.1", () => fs.writeFileSync("model.url", `http://127.0.0.1:${server.address().port}/v1`));
JS
node model.mjs &
until [[ -s model.url ]]; do sleep 0.1; done

mkdir -p home project config/opencode/node_modules
plugin='{"dependencies": {"@opencode-ai/plugin": "1.18.33"}}'
echo "$plugin" >config/opencode/package.json
echo '{"name": "opencode", "lockfileVersion": 3, "requires": true, "packages": {"": '"$plugin"'}}' >config/opencode/package-lock.json
cat >opencode.json <<JSON
{"autoupdate": false, "share": "disabled", "model": "own/m", "small_model": "own/m", "enabled_providers": ["own"],
 "provider": {"own": {"npm": "@ai-sdk/openai-compatible", "name": "Own", "options": {"baseURL": "$(cat model.url)", "apiKey": "none"},
  "models": {"m": {"tool_call": true, "limit": {"context": 128000, "output": 8192}}}}}}
JSON

serve() { # start OpenCode; sets $url
    : >said
    (cd project && exec env HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_DATA_HOME="$work/data" XDG_STATE_HOME="$work/state" \
        XDG_CACHE_HOME="$work/cache" OPENCODE_CONFIG="$work/opencode.json" OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_MODELS_FETCH=1 \
        OPENCODE_DISABLE_LSP_DOWNLOAD=1 OPENCODE_DISABLE_DEFAULT_PLUGINS=1 \
        ../node_modules/.bin/opencode serve --hostname 127.0.0.1 --port 0 >../said 2>/dev/null) &
    server=$!
    until grep -q listening said; do sleep 0.1; done
    url=$(grep -o 'http://[0-9.:]*' said | tail -1)
}
field() { node -e 'let t="";process.stdin.on("data",d=>t+=d).on("end",()=>console.log(eval("("+t+")"+process.argv[1])))' "$1"; }
tell() { curl -sf -H 'Content-Type: application/json' "$url$1" ${2:+-d "$2"}; }

serve
printf 'one\ntwo\n' >project/notes.txt
session=$(tell /session '{"title": "a talk"}' | field .id)
tell "/session/$session/message" '{"parts": [{"type": "text", "text": "change the notes"}]}' >/dev/null
tools=$(tell "/session/$session/message" | field '.flatMap(m => m.parts).filter(p => p.type == "tool").map(p => `${p.tool} ${p.state.status}: ${typeof p.state.metadata.diff == "string" ? "a diff" : "no diff"} among ${Object.keys(p.state.metadata).sort()}`).join("; ")')

echo "opencode-ai 1.18.33, node $(node --version)"
echo "$tools"
echo "the file at the end: $(tr '\n' ' ' <project/notes.txt)"
[[ $tools =~ write\ completed:\ no\ diff.*edit\ completed:\ a\ diff && $(<project/notes.txt) == $'one\nthree' ]] ||
    { echo 'the behaviour has changed'; exit 1; }
