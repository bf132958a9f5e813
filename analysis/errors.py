"""What a user can mend about an analysis; the message says what, got, expected, do this."""

from __future__ import annotations


class SettingError(ValueError):
    """An analysis was asked for with a setting that cannot be."""
