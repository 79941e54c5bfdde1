#!/usr/bin/env bash
# OpenCode 1.18.33: POST /session/{id}/message with a `messageID` that the conversation already has is neither refused nor without
# effect. The answer is HTTP 200 with the first message's answer, the model is not asked, and yet the new text is added to the
# first message as another part, where every later prompt has it.
#
# A caller that sends a message again because it does not know whether it arrived (a lost connection, a restart) gets the answer
# that it missed, and has doubled the question in the history. It has to look the id up first, with
# GET /session/{id}/message/{messageID}, and must not post if it is there.
#
# Needs: bash, npm with Node.js, and curl.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund opencode-ai@1.18.33 >/dev/null

# A model that says how often it has been asked. Requests without tools are for titles and are not counted.
cat >model.mjs <<'JS'
import http from "node:http";
import fs from "node:fs";
let asked = 0;
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const counted = JSON.parse(body || "{}").tools?.length > 0;
    if (counted) fs.writeFileSync("asked", String(++asked));
    const chunk = (delta, finish_reason) => response.write(`data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk",
      model: "m", choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    chunk({ role: "assistant", content: `answer ${asked}` }, null);
    chunk({}, "stop");
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
message() { tell "/session/$session/message" "{\"messageID\": \"msg_0001\", \"parts\": [{\"type\": \"text\", \"text\": \"$1\"}]}" | field '.parts.filter(p => p.type == "text").map(p => p.text).join("")'; }

serve
session=$(tell /session '{"title": "a talk"}' | field .id)
first=$(message "the question")
again=$(message "the question, sent again")
users=$(tell "/session/$session/message" | field '.filter(m => m.info.role == "user").map(m => m.info.id + " with " + m.parts.map(p => JSON.stringify(p.text)).join(" and ")).join("; ")')
answers=$(tell "/session/$session/message" | field '.filter(m => m.info.role == "assistant").length')

echo "opencode-ai 1.18.33, node $(node --version)"
echo "posted once: '$first'; posted again with the same id: '$again'"
echo "user messages: $users; answers: $answers; the model was asked $(cat asked) time(s)"
[[ $users == 'msg_0001 with "the question" and "the question, sent again"' && $again == "$first" && $answers == 1 && $(cat asked) == 1 ]] ||
    { echo 'the behaviour has changed'; exit 1; }
