"""`python -m diffengine`: the command line, from a checkout or an install."""

from __future__ import annotations

from diffengine.engine.cli.command_line import main

if __name__ == "__main__":
    main()
