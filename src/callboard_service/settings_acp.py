"""Defines the settings of the backend `acp`."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode


class AcpSettings(BaseSettings):
    """How to start an agent that speaks the Agent Client Protocol, and how many of them."""

    acp_command: str | None = Field(
        None, description='Program and arguments that start the agent, as in "opencode acp".'
    )
    acp_directory: Path | None = Field(
        None, description="Folder in which the agent works; default: the working directory."
    )
    acp_environment: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Variables that the agent gets besides PATH, HOME and the like, such as that "
        "of its key; OPENAI_* means all that begin so; repeatable, or comma-separated in the "
        "variable.",
    )
    acp_files: Path | None = Field(
        None,
        description="Folder whose files the agent reads and writes through the service, which asks "
        "before it writes; default: the agent does this by itself.",
    )
    acp_terminals: Literal["no", "yes"] = Field(
        "no",
        description="Whether the service runs the agent's commands, in the conversation's folder, "
        "and asks before each; default: the agent does this by itself.",
    )
    acp_mode: str | None = Field(
        None, description="Mode of the agent's sessions, such as plan; default: the agent's own."
    )
    acp_processes: Literal["conversation", "shared"] = Field(
        "conversation",
        description="Whether each conversation has a process of its own, or all share one, which "
        "takes less memory; only for agents that are known to keep conversations apart.",
    )
    acp_max_processes: int = Field(
        8, ge=1, le=1000, description="Processes of the agent that may run at once."
    )

    @field_validator("acp_environment", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(re.split(r"[\s,]+", value.strip())) if isinstance(value, str) else value
