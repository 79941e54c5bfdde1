#!/usr/bin/env bash
# Qwen Code 0.24.4 as an ACP agent: one would expect a prompt that ends with an error to be over. It stays in what the agent
# remembers, with nothing of a reply after it: when the model server refuses a request (HTTP 400) and `session/prompt` is answered
# with an error, the next prompt reaches the model in one user message together with the one that failed.
#
# A client that lets a person try again, or say it differently, has the model answer both.
#
# Needs: bash, and npm with Node.js 20 or newer.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund @qwen-code/qwen-code@0.24.4 >/dev/null

# A model server that refuses the first request with tools, answers the others, and notes what users said in each.
cat >model.mjs <<'JS'
import http from "node:http";
import fs from "node:fs";
const textOf = (content) => (typeof content === "string" ? content : content.map((part) => part.text ?? "").join("\n"));
let asked = 0;
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const { tools, messages = [], stream } = JSON.parse(body || "{}");
    if (tools?.length > 0) {
      asked += 1;
      const said = messages.filter((message) => message.role === "user").map((message) => textOf(message.content));
      fs.appendFileSync("asked.jsonl", JSON.stringify(said.map((text) => ["FIRST", "SECOND"].filter((word) => text.includes(word)))) + "\n");
      if (asked === 1) {
        response.writeHead(400, { "Content-Type": "application/json" });
        response.end(JSON.stringify({ error: { message: "not this one", type: "invalid_request_error" } }));
        return;
      }
    }
    const head = { id: "1", model: "m", created: 1 };
    if (!stream) {
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(JSON.stringify({ ...head, object: "chat.completion",
        choices: [{ index: 0, message: { role: "assistant", content: "done" }, finish_reason: "stop" }] }));
      return;
    }
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (const [delta, finish_reason] of [[{ role: "assistant", content: "done" }, null], [{}, "stop"]])
      response.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
    response.end("data: [DONE]\n\n");
  });
});
server.listen(0, "127.0.0.1", () => fs.writeFileSync("model.url", `http://127.0.0.1:${server.address().port}/v1`));
JS
node model.mjs &
until [[ -s model.url ]]; do sleep 0.1; done

# A client: a session and two prompts, each sent once the one before it is answered.
cat >client.mjs <<'JS'
import { spawn } from "node:child_process";
import readline from "node:readline";
const agent = spawn("../node_modules/.bin/qwen", ["--acp", "--approval-mode", "default"], { stdio: ["pipe", "pipe", "ignore"] });
const waiting = new Map();
let last = 0;
readline.createInterface({ input: agent.stdout }).on("line", (line) => {
  let message;
  try { message = JSON.parse(line); } catch { return; }
  if (message.method === undefined && waiting.has(message.id)) waiting.get(message.id)(message);
  else if (message.method !== undefined && message.id !== undefined)
    agent.stdin.write(JSON.stringify({ jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "Method not found" } }) + "\n");
});
const call = (method, params) => new Promise((resolve) => {
  waiting.set(++last, resolve);
  agent.stdin.write(JSON.stringify({ jsonrpc: "2.0", id: last, method, params }) + "\n");
});
await call("initialize", { protocolVersion: 1, clientCapabilities: { fs: { readTextFile: false, writeTextFile: false } } });
const { result: { sessionId } } = await call("session/new", { cwd: process.cwd(), mcpServers: [] });
for (const text of ["Say FIRST", "Say SECOND"]) {
  const answer = await call("session/prompt", { sessionId, prompt: [{ type: "text", text }] });
  console.log(text, "->", answer.error === undefined ? answer.result.stopReason : "error");
}
agent.kill();
JS
mkdir -p home/.qwen project
echo '{"general": {"disableAutoUpdate": true}, "privacy": {"usageStatisticsEnabled": false}}' >home/.qwen/settings.json
said=$(cd project && HOME="$work/home" OPENAI_BASE_URL=$(cat ../model.url) OPENAI_API_KEY=none OPENAI_MODEL=m timeout 300 node ../client.mjs)

echo "Qwen Code $(node -p 'require("./node_modules/@qwen-code/qwen-code/package.json").version')"
echo "$said"
echo "what each request to the model had in its users' messages:"
cat asked.jsonl

[[ $said == *"Say FIRST -> error"*"Say SECOND -> end_turn"* ]]
# The last request has a single message of a user with both prompts in it.
node -e '
const asked = require("node:fs").readFileSync("asked.jsonl", "utf8").trim().split("\n").map(JSON.parse);
const last = asked.at(-1).filter((words) => words.length > 0);
process.exit(JSON.stringify(last) === JSON.stringify([["FIRST", "SECOND"]]) ? 0 : 1);
'
echo "as expected: the prompt that failed was sent again, in one message with the next"
