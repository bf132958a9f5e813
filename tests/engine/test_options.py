"""Options as data: their types, and what is typed for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from diffengine.engine.options import (
    AT_LEAST_ONE,
    ConfigError,
    check_options,
    kinds_of,
    option,
    options_of,
    parse_option,
)


@dataclass(frozen=True)
class Some:
    count: int = option(3, "How many.", rule=AT_LEAST_ONE)
    share: float = option(0.5, "How much.")
    name: str = option("a", "Which.", choices=("a", "b"))
    loud: bool = option(False, "Whether.")
    most: int | None = option(None, "At most.")
    inner: list[int] = option((), "Cannot be an option.")
    plain: int = 0


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "7", 7),
        ("share", "1e-3", 0.001),
        ("name", "b", "b"),
        ("loud", "Yes", True),
        ("loud", "0", False),
        ("most", "none", None),
        ("most", "4", 4),
    ],
)
def test_what_is_typed_is_read_by_type(name: str, text: str, value: Any) -> None:
    read = parse_option(Some, name, text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("count", "1.5"), ("share", "much"), ("loud", "loud"), ("most", "all")]
)
def test_what_cannot_be_read_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is '{text}'; expected "):
        parse_option(Some, name, text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count is 0; it must be at least 1"),
        ({"count": 1.0}, "count is 1.0, of type float; expected a whole number"),
        ({"count": True}, "of type bool"),
        ({"name": "c"}, "name is 'c'; use one of a, b"),
        ({"loud": 1}, "expected true or false"),
        ({"most": "x"}, "expected a whole number or none"),
    ],
)
def test_a_value_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_options(Some, values)


def test_a_whole_number_may_stand_for_a_number_and_none_where_it_may_be() -> None:
    check_options(Some, {"share": 1, "most": None})


def test_a_plain_field_is_an_option_without_help() -> None:
    assert options_of(Some)["plain"].help == ""
    assert parse_option(Some, "plain", "5") == 5
    with pytest.raises(ConfigError, match="plain is 'x', of type str"):
        check_options(Some, {"plain": "x"})


def test_an_option_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="Some: option inner is a list"):
        kinds_of(Some, "inner")
