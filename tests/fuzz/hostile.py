"""JSON that nobody expects, and what every answer must be like, whatever was sent."""

import json
from typing import Any

from hypothesis import strategies as st

DEEP: Any = None
for _ in range(900):
    DEEP = [DEEP]

VALUES = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1.5, 4.0, 2**31, 2**63, 10**400, -(10**400), 1e300),
        *(float("nan"), float("inf"), float("-inf")),
        *(
            "",
            " ",
            "\0",
            "\ud800",
            "\udfff\ud800",
            "\u200b\u200d",
            "٤",
            "²",
            "9" * 100,
            "9" * 5_000,
            "../../etc/passwd",
        ),
        *("Ada lives in Oslo \ud83d", "a\0b", "2026-01-01", "9999-12-31T23:59:59.999999+14:00", "<a>", "{}"),
        *([], {}, [None], [[]], {"id": None}, [{"id": 1}], {"": ""}, {"\ud800": "\ud800"}, {"labels": 5}, DEEP),
    ]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
"""Of every type, at the edge of what Python, JSON, SQLite and PostgreSQL take, and beyond."""


def paths(json: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, the whole first."""
    inner = json.items() if isinstance(json, dict) else enumerate(json) if isinstance(json, list) else ()
    return [at, *(path for name, value in inner for path in paths(value, (*at, name)))]


def replaced(json: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with `value` at that place."""
    if not path:
        return value
    copy = dict(json) if isinstance(json, dict) else list(json)
    copy[path[0]] = replaced(json[path[0]], path[1:], value)
    return copy


def body(value: Any) -> bytes:
    """As a careless client would write it: NaN, and halves of surrogate pairs as escapes."""
    return json.dumps(value).encode("ascii")


def check(response: Any) -> None:
    """No fault of ours, nothing of our insides, and JSON that every client can read."""
    assert response.status_code < 500, response.text[:500]
    for inside in ("Traceback", 'File "', "site-packages", "pydantic", "sqlalchemy", "fuzzed0"):
        assert inside not in response.text, response.text[:500]
    if "json" in response.headers.get("content-type", ""):
        response.content.decode("ascii")
        answer = json.loads(response.content, parse_constant=lambda name: 1 / 0)
        if response.status_code >= 400:
            assert isinstance(answer["detail"], str) and 0 < len(answer["detail"]) < 2_100
