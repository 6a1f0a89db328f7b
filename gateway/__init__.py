"""The gateway: everything between an agent and its target, and the commands that operate it."""

__version__ = "0.1.0"
