"""What is chosen in the conversations of OpenCode: the store keeps it, the server takes it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from actors import Code, Failure
from callboard.v1.chat_pb2 import OptionList
from callboard_service.backends.base import Prompt
from callboard_service.backends.fields import Table
from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.commands import called, may_call
from callboard_service.backends.opencode.marks import Mark, message_id_of
from callboard_service.backends.opencode.options import MODEL, Catalog, Selection
from callboard_service.backends.opencode.parts import parts_of
from callboard_service.backends.stored import StoredConversations

if TYPE_CHECKING:
    from callboard_service.backends.opencode.usage import ContextSizes


class Choosing:
    """Lists the options, keeps choices, and selects what is sent with a message."""

    def __init__(self, turns: StoredConversations) -> None:
        self._turns = turns
        self.context_sizes: ContextSizes = {}
        """Those of the models, as last read."""

    async def options(self, api: Api, conversation_id: str) -> OptionList:
        """Return what can be chosen; conversation_id: empty: in a new conversation."""
        session = await api.session(conversation_id) if conversation_id else {}
        chosen = await self._chosen(conversation_id)
        return (await self._catalog(api)).options(session, chosen)

    async def set_option(
        self, api: Api, conversation_id: str, option_id: str, value: str
    ) -> OptionList:
        """Choose, and return what can be chosen then. Raises Failure: INVALID_ARGUMENT."""
        session = await api.session(conversation_id)
        chosen = await self._chosen(conversation_id)
        catalog = await self._catalog(api)
        kept = catalog.check(session, chosen, option_id, value)
        await self._keep(conversation_id, option_id, kept)
        return catalog.options(session, await self._chosen(conversation_id))

    async def message(self, api: Api, session: Table, prompt: Prompt) -> dict[str, object]:
        """Return what to post for a message: a prompt, or a command, which has a "command".

        Raises Failure: INVALID_ARGUMENT for an unknown model.
        """
        selection = await self._select(api, session, prompt)
        message_id = message_id_of(prompt.turn_id)
        named = {"messageID": message_id} if message_id else {}
        files = await parts_of(prompt.attachments, self._turns.attachments.read)
        call = called(prompt.text, await api.commands()) if may_call(prompt.text) else None
        if call is not None:
            command = {"command": call.name, "arguments": call.argument}
            with_files = {"parts": files} if files else {}
            return {**named, **command, **with_files, **selection.of_command()}
        part: dict[str, object] = {"type": "text", "text": prompt.text}
        if message_id:
            part["metadata"] = Mark(prompt.turn_id).metadata()
        return {**named, "parts": [part, *files], **selection.of_prompt()}

    async def _select(self, api: Api, session: Table, prompt: Prompt) -> Selection:
        """Return what to send with a message.

        OpenCode would use the model of one message for later ones too; therefore the conversation's
        own becomes its choice. Raises Failure: INVALID_ARGUMENT for an unknown model.
        """
        conversation_id, model, chosen = prompt.conversation_id, prompt.model, prompt.choices
        if MODEL not in chosen:
            with suppress(Failure):  # it may have become a choice since the message was admitted
                chosen = {**await self._chosen(conversation_id), **chosen}
        if not (model or chosen):
            if not self.context_sizes:
                with suppress(Failure):  # then nobody learns how large the context is
                    await self._catalog(api)
            return Selection()
        catalog = await self._catalog(api)
        selection = catalog.select(model, session, chosen)
        if model and not chosen.get(MODEL):
            own = catalog.model_of(session, chosen)
            if own and own != model:
                await self._keep(conversation_id, MODEL, own)
        return selection

    async def _catalog(self, api: Api) -> Catalog:
        catalog = Catalog(await api.providers(), await api.agents(), await api.config())
        self.context_sizes = catalog.context_sizes()
        return catalog

    async def _chosen(self, conversation_id: str) -> Mapping[str, str]:
        try:
            return await self._turns.read(lambda store: store.choices(conversation_id))
        except Failure as failure:
            if failure.code is not Code.NOT_FOUND:
                raise
            return {}  # no client of this service has used the conversation

    async def _keep(self, conversation_id: str, option_id: str, value: str) -> None:
        await self._turns.write(lambda store: store.ensure(conversation_id))
        await self._turns.write(lambda store: store.choose(conversation_id, option_id, value))
