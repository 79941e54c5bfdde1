"""Contains the service: settings, commands, chat backends, and the actor types of the chat."""

from importlib.metadata import version

__version__ = version("callboard")
