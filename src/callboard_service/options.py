"""Defines the options of `callboard serve`: one for each setting that is not a secret."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, get_args, get_origin

import click

from callboard_service.setting_files import BACKENDS_ON_THIS_MACHINE, user_file
from callboard_service.settings import FILE, PREFIX, SECRETS, Settings

F = TypeVar("F", bound=Callable[..., object])

PROGRAMS: Final = "For programs that start the service"

HEADINGS: Final = {
    "Chat": ("backend", "data_dir", "attachment_quota", "actors"),
    "Backend acp": (
        "acp_command",
        "acp_directory",
        "acp_environment",
        "acp_files",
        "acp_terminals",
        "acp_mode",
        "acp_processes",
        "acp_max_processes",
    ),
    "Backend local": ("local_model", "local_silence_ms", "local_start_ms", "local_max_tokens"),
    "Backend openai": (
        "openai_base_url",
        "openai_model",
        "openai_silence_ms",
        "openai_content_ms",
        "openai_ending_ms",
        "openai_loading_ms",
        "openai_connect_ms",
        "openai_models_ms",
    ),
    "Backend opencode": (
        "opencode_url",
        "opencode_command",
        "opencode_directory",
        "opencode_start_ms",
        "opencode_call_ms",
    ),
    "Listening": (
        "host",
        "port",
        "unix_socket",
        "expose",
        "tls_certificate",
        "tls_key",
        "allowed_hosts",
        "allowed_origins",
        "runtime_dir",
    ),
    "Process": ("log_level", "loop", "drain_ms", "max_outage_ms", "open"),
    PROGRAMS: ("ready_json", "parent_pid", "watch_stdin"),
    "Limits for connections": (
        "max_sessions",
        "max_handshakes",
        "handshake_timeout_ms",
        "heartbeat_interval_ms",
        "slow_consumer_ms",
        "memory_budget",
    ),
    "Limits for each session": (
        "max_requests_in_flight",
        "messages_per_second",
        "message_burst",
        "bytes_per_second",
        "byte_burst",
        "max_message_bytes",
        "max_answer_bytes",
        "max_session_bytes",
        "resume_window_ms",
        "resume_buffer_messages",
        "resume_buffer_bytes",
    ),
}
"""Every option of `serve` except `--help`, under the headings and in the order of its help."""


class Grouped(click.Command):
    """A command whose help groups the options under HEADINGS, and then explains other sources."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list for each heading, then the secrets and the notes on variables and files."""
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        }
        for heading, names in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("Other"):
            formatter.write_dl(list(records.values()))
        with formatter.section("Secrets (variables or your own file, never options)"):
            formatter.write_dl([(variable(name), _description(name)) for name in sorted(SECRETS)])
        with formatter.section("Environment variables and files"):
            formatter.write_text(
                "Each option, except those for programs, can also be set by a variable "
                f"or in a file: --max-sessions 10, {variable('max_sessions')}=10, "
                f"max_sessions = 10. The files are {FILE} in the working directory and your own, "
                f"{user_file()}. Options override variables, variables override files, and the "
                "working directory's file overrides your own."
            )
            formatter.write_paragraph()
            formatter.write_text(
                "Anybody may have written the file in the working directory, so it may set only "
                f"the limits, log_level, loop, drain_ms, and backend to "
                f"{' or '.join(BACKENDS_ON_THIS_MACHINE)}."
            )


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def _description(name: str) -> str:
    return Settings.model_fields[name].description or ""


def settings_options(command: F) -> F:
    """Add an option for each setting that is not a secret."""
    for name, field in reversed(Settings.model_fields.items()):
        if name in SECRETS:
            continue
        choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
        kind: click.Choice[str] | click.Path | type[str] | type[int] | type[float] = str
        if choices:
            kind = click.Choice(choices)
        elif field.annotation is int:
            kind = int
        elif field.annotation is float:
            kind = float
        elif Path in (field.annotation, *get_args(field.annotation)):
            kind = click.Path(path_type=Path)
        several = get_origin(field.annotation) is tuple
        try:
            default = field.get_default(call_default_factory=True, validated_data={})
        except RuntimeError:  # the user has no home directory; `load` reports it
            default = None
        shown = "" if default in (None, ()) else f"  [default: {default}]"
        option = click.option(
            "--" + name.replace("_", "-"), name, type=kind, default=None, multiple=several,
            help=_description(name) + shown,
        )  # fmt: skip
        command = option(command)
    return command
