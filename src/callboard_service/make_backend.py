"""Makes the backend that the settings select."""

from typing import Final

from actors import Log
from callboard_service.backends.acp.backend import AcpBackend
from callboard_service.backends.acp.command import AgentCommand, find_agent
from callboard_service.backends.base import ChatBackend
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.backends.local.backend import LocalBackend, find_model
from callboard_service.backends.openai.api import OPENAI, ModelServer, OpenAITimeouts
from callboard_service.backends.openai.backend import OpenAIBackend
from callboard_service.backends.opencode.backend import OpenCodeBackend
from callboard_service.backends.opencode.reply import OpenCodeTimeouts
from callboard_service.backends.opencode.where import Attached, Supervised, find_server
from callboard_service.errors import BackendFailed
from callboard_service.settings import Settings

ECHO: Final = "echo.sqlite3"
"""The file in the data folder with the conversations of the backend echo, if one is configured."""

OPENCODE_TURNS: Final = "opencode.sqlite3"
"""The file in the data folder with the turns of OpenCode's conversations."""


def make_backend(settings: Settings, log: Log) -> ChatBackend:
    """Return the backend that the settings select. Raises BackendFailed and BadSettings."""

    def report(line: str) -> None:
        log.warning(line)

    if settings.backend == "echo":
        if "data_dir" in settings.model_fields_set:
            return EchoBackend(report, settings.data_dir / ECHO)
        return EchoBackend(report)
    if settings.backend == "acp" or (settings.backend == "auto" and settings.acp_command):
        limit = settings.acp_max_processes
        return AcpBackend(_agent(settings), settings.data_dir, log, report, max_processes=limit)
    opencode = (
        settings.opencode_url,
        settings.opencode_password,
        settings.opencode_command,
        settings.opencode_directory,
    )
    if settings.backend == "opencode" or (settings.backend == "auto" and any(opencode)):
        times = OpenCodeTimeouts(
            call=settings.opencode_call_ms / 1000, start=settings.opencode_start_ms / 1000
        )
        turns = settings.data_dir / OPENCODE_TURNS
        return OpenCodeBackend(_opencode_server(settings), log, times, turns)
    openai = (settings.openai_base_url, settings.openai_api_key, settings.openai_model)
    if settings.backend == "openai" or (settings.backend == "auto" and any(openai)):
        return OpenAIBackend(
            _model_server(settings),
            settings.data_dir,
            log,
            report,
            patience=_openai_timeouts(settings),
        )
    return LocalBackend(
        find_model(settings.local_model),
        settings.data_dir,
        log,
        report,
        silence=settings.local_silence_ms / 1000,
        max_tokens=settings.local_max_tokens,
        start_timeout=settings.local_start_ms / 1000,
    )


def _agent(settings: Settings) -> AgentCommand:
    """Return how to start the agent of the backend acp. Raises BackendFailed."""
    return find_agent(
        settings.acp_command,
        settings.acp_directory,
        settings.acp_environment,
        settings.acp_mode or "",
        settings.acp_files,
        terminals=settings.acp_terminals == "yes",
        shared=settings.acp_processes == "shared",
    )


def _openai_timeouts(settings: Settings) -> OpenAITimeouts:
    """Return the timeouts of the backend openai, in seconds."""
    silence = settings.openai_silence_ms / 1000
    ending = settings.openai_ending_ms / 1000
    return OpenAITimeouts(
        connect=settings.openai_connect_ms / 1000,
        models=settings.openai_models_ms / 1000,
        silence=silence,
        content=max(silence, settings.openai_content_ms / 1000),
        farewell=min(ending, OpenAITimeouts().farewell),
        doubt=ending,
        loading=settings.openai_loading_ms / 1000,
    )


def _opencode_server(settings: Settings) -> Attached | Supervised:
    """Return the server of the backend opencode. Raises BackendFailed."""
    secret = settings.opencode_password
    password = secret.get_secret_value() if secret is not None else ""
    return find_server(
        settings.opencode_url, password, settings.opencode_command, settings.opencode_directory
    )


def _model_server(settings: Settings) -> ModelServer:
    """Return the server of the backend openai. Raises BackendFailed."""
    secret = settings.openai_api_key
    key = secret.get_secret_value() if secret is not None else ""
    address = settings.openai_base_url
    if address is None and not key:
        reason = (
            "set CALLBOARD_OPENAI_BASE_URL, or for OpenAI's own server CALLBOARD_OPENAI_API_KEY"
        )
        raise BackendFailed(f"openai: {reason}")
    return ModelServer(address or OPENAI, key, settings.openai_model or "")
