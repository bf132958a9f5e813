"""The command line, one file per question. Each command imports what it needs when it runs."""

from .command_line import main

__all__ = ["main"]
