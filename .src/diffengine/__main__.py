"""`python -m diffengine`: the command line, from a checkout or an install. Knows nothing of the
commands."""

from __future__ import annotations

from diffengine.engine.cli.command_line import main

if __name__ == "__main__":
    main()
