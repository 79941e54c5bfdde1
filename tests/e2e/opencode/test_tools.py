"""What clients that follow see of tools on the real OpenCode server."""

import asyncio
import os
from typing import Any

from tests.e2e.contract_client import Contract, message
from tests.e2e.opencode.conftest import PATCHING
from tests.e2e.opencode.peer import send
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import call, say, script
from tests.support.peers.talk import answer, until


def follower(service: ServiceProcess) -> Contract:
    return service.connect(features=["follow"])


async def test_the_output_of_a_command_is_shown_while_it_runs(
    service: ServiceProcess, proxy: CuttingProxy, server: OpenCodeServer
) -> None:
    """The result follows once the command has ended."""
    proxy.mend()
    pipe = server.project / "pipe"
    os.mkfifo(pipe)
    command = f"printf begun; cat {pipe}"
    bash = call("bash", command=command, description="Wait for a pipe")
    async with follower(service) as client:
        conversation = await client.conversation("progress")
        request_id = await client.say(conversation, script([bash], [say("done")]))
        stream = client.answers(request_id)
        seen = await until(stream, "ask")
        ask = seen[-1].ask
        assert [choice.value for choice in ask.choices] == ["once", "always", "reject"]
        await answer(client, request_id, ask, "once")
        seen += await until(stream, "tool_progress")
        progress = seen[-1].tool_progress
        await asyncio.to_thread(pipe.write_text, " ended")
        seen += await until(stream, "tool_result")
        seen += [one async for one in stream]
    (called,) = (one.tool_call for one in seen if one.HasField("tool_call"))
    (result,) = (one.tool_result for one in seen if one.HasField("tool_result"))
    assert called.title == "Wait for a pipe"
    assert called.kind == message("ToolCallEvent", kind="TOOL_KIND_EXECUTE").kind
    assert called.call_id == progress.call_id == result.call_id == ask.call_id
    assert progress.output == "begun"
    assert "begun ended" in result.output


async def test_the_plan_the_usage_and_a_change_are_shown(
    service: ServiceProcess, proxy: CuttingProxy, server: OpenCodeServer
) -> None:
    """They come from OpenCode's to-do list, its count of tokens and its diffs."""
    proxy.mend()
    path = server.project / "changed.txt"
    path.write_text("old\n")
    todos = [
        {"content": "change it", "status": "in_progress", "priority": "high"},
        {"content": "test it", "status": "pending", "priority": "low"},
    ]
    steps: list[Any] = [
        [call("todowrite", todos=todos), call("read", filePath=str(path))],
        [call("edit", filePath=str(path), oldString="old", newString="new")],
        [say("done")],
    ]
    async with follower(service) as client:
        conversation = await client.conversation("plan")
        seen = await client.reply(conversation, script(*steps))
    (plan,) = (one.plan for one in seen if one.HasField("plan"))
    assert [(step.text, step.status) for step in plan.entries] == [("change it", 2), ("test it", 1)]
    usages = [one.usage for one in seen if one.HasField("usage")]
    assert (usages[-1].context_used, usages[-1].context_size) == (18, 128_000)
    (diff,) = (diff for one in seen for diff in one.tool_result.diffs)
    assert diff.path == str(path)
    assert "-old" in diff.patch
    assert "+new" in diff.patch
    places = [place.path for one in seen for place in one.tool_call.locations]
    assert places == [str(path)] * 2


async def test_every_file_of_a_patch_and_a_new_file_are_changes(
    service: ServiceProcess, proxy: CuttingProxy, server: OpenCodeServer
) -> None:
    """OpenCode itself tells only what a new file contains."""
    proxy.mend()
    new, old, moved, gone = (
        server.project / f"{name}.txt" for name in ("new", "old", "to", "gone")
    )
    old.write_text("hello\n")
    gone.write_text("bye\n")
    patch = "\n".join(
        [
            "*** Begin Patch",
            "*** Update File: old.txt",
            "*** Move to: to.txt",
            "@@",
            "-hello",
            "+welcome",
            "*** Delete File: gone.txt",
            "*** End Patch",
        ]
    )
    steps: list[Any] = [[call("apply_patch", patchText=patch)], [say("done")]]
    async with follower(service) as client:
        conversation = await client.conversation("patch")
        patched = await send(client, conversation, script(*steps), model=f"scripted/{PATCHING}")
        write = call("write", filePath=str(new), content="one\ntwo\n")
        written = await client.reply(conversation, script([write], [say("done")]))
    diffs = {diff.path: diff.patch for one in patched for diff in one.tool_result.diffs}
    assert diffs.keys() == {str(moved), str(gone)}
    assert "-hello" in diffs[str(moved)]
    assert "+welcome" in diffs[str(moved)]
    assert "-bye" in diffs[str(gone)]
    (diff,) = (diff for one in written for diff in one.tool_result.diffs)
    assert diff.patch == f"--- /dev/null\n+++ {new}\n@@ -0,0 +1,2 @@\n+one\n+two\n"
    assert new.read_text() == "one\ntwo\n"
