"""Optional packages: absent, sound, or broken in each way that an import can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from diffengine.engine.optional_parts import in_short, optional_part, warn_failed_use


def test_absent_and_sound(planted: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    planted(some_part="VALUE = 3")
    part = optional_part("some_part", instead="nothing")
    assert (
        part.installed and part.reason == "" and part.module is not None and part.module.VALUE == 3
    )
    assert optional_part("no_such_part", instead="nothing") == (None, False, "is not installed")
    assert caplog.text == ""


@pytest.mark.parametrize(
    "error", ["AttributeError", "ImportError", "OSError", "RuntimeError", "ValueError"]
)
def test_broken(error: str, planted: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    planted(some_part="", **{"some_part.inner": f"raise {error}('why\\nand more')"})
    for _ in range(2):
        part = optional_part("some_part.inner", instead="the twin does it")
        assert part == (None, True, f"does not import ({error}: why)")
    expected = f"some_part.inner is installed but does not import ({error}: why); the twin does it"
    assert [record.message for record in caplog.records] == [expected]


def test_a_failed_use_is_said_once(
    planted: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    planted()
    for _ in range(2):
        message = warn_failed_use("cuML", RuntimeError("no device"), instead="openTSNE draws")
        assert message == "cuML failed when it was used (RuntimeError: no device); openTSNE draws"
    assert [record.message for record in caplog.records] == [message]
    assert in_short(KeyError()) == "KeyError"
