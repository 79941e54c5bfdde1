#!/usr/bin/env bash
# OpenCode 1.18.33: once the machine's clock has been set back, a conversation gets no new answers until that time has come
# again. POST /session/{id}/message returns HTTP 200 with the *old* answer, and the model is not asked.
#
# A conversation is begun with the clock five hours ahead (a laptop whose clock is set right afterwards by NTP), then the
# server is started again with the right time and gets a second message. OpenCode sorts messages by `time.created`, finds the
# first answer behind the new question, and takes the turn for done. A caller that trusts the status shows the first answer
# again as the answer to the second question.
#
# Needs: bash, npm with Node.js, curl, and Debian's apt-get and dpkg (for libfaketime, which is unpacked into the folder).
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund opencode-ai@1.18.33 >/dev/null
apt-get download libfaketime >/dev/null 2>&1
dpkg -x libfaketime_*.deb faketime
faketime=$(find "$work/faketime" -name libfaketime.so.1 | head -1)

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

serve() { # serve [VARIABLE=VALUE ...]: start OpenCode in the same folders; sets $url
    : >said
    (cd project && exec env HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_DATA_HOME="$work/data" XDG_STATE_HOME="$work/state" \
        XDG_CACHE_HOME="$work/cache" OPENCODE_CONFIG="$work/opencode.json" OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_MODELS_FETCH=1 \
        OPENCODE_DISABLE_LSP_DOWNLOAD=1 OPENCODE_DISABLE_DEFAULT_PLUGINS=1 "$@" \
        ../node_modules/.bin/opencode serve --hostname 127.0.0.1 --port 0 >../said 2>/dev/null) &
    server=$!
    until grep -q listening said; do sleep 0.1; done
    url=$(grep -o 'http://[0-9.:]*' said | tail -1)
}
field() { node -e 'let t="";process.stdin.on("data",d=>t+=d).on("end",()=>console.log(eval("("+t+")"+process.argv[1])))' "$1"; }
tell() { curl -sf -H 'Content-Type: application/json' "$url$1" ${2:+-d "$2"}; }
message() { tell "/session/$session/message" "{\"parts\": [{\"type\": \"text\", \"text\": \"$1\"}]}" | field '.parts.filter(p => p.type == "text").map(p => p.text).join("")'; }

serve LD_PRELOAD="$faketime" FAKETIME=+5h FAKETIME_DONT_FAKE_MONOTONIC=1
session=$(tell /session '{"title": "a talk"}' | field .id)
first=$(message "the first question")
kill $server; wait $server 2>/dev/null || true

serve
second=$(message "the second question")
listed=$(tell "/session/$session/message" | field '.map(m => m.info.role + (m.parts[0]?.text ? " " + m.parts[0].text : "")).join(", ")')

echo "opencode-ai 1.18.33, node $(node --version)"
echo "five hours ahead: the first question got '$first'"
echo "with the right time: the second question got '$second'"
echo "the model was asked $(cat asked) time(s); the messages in the server's order: $listed"
[[ $first == 'answer 1' && $second == 'answer 1' && $(cat asked) == 1 ]] || { echo 'the behaviour has changed'; exit 1; }
