"""The README agrees with the code: every setting, tagger, strategy, route and command, with their defaults."""

from __future__ import annotations

import inspect
import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any, get_type_hints

from fastapi.routing import APIRoute, iter_route_contexts

from demo import label_studio
from demo.__main__ import EXTRA_PARAMS
from demo.__main__ import main as demo
from learning.settings import ProjectSettings, Settings
from server.app import app
from server.security import OPEN
from strategies import FILTERS, STRATEGIES, Filter, Strategy
from taggers import TAGGERS, tagger_class
from tests.strategies.conftest import order, random_pool, wordless

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
NONE = "–"
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
CODE = [block for _, block in FENCE.findall(README)] + re.findall(r"`([^`\n]+)`", FENCE.sub("", README))
"""Everything that is set as code."""


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def table(*header: str) -> list[list[str]]:
    """The rows of the one table with these columns."""
    lines = README.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("|") and cells(line) == list(header)]
    assert len(heads) == 1, f"{len(heads)} tables with the columns {header}"
    return [cells(line) for line in takewhile(lambda line: line.startswith("|"), lines[heads[0] + 2 :])]


def quoted(cell: str) -> list[str]:
    """What stands in backquotes, in a cell that holds nothing else but commas and colons."""
    assert re.fullmatch(rf"{NONE}|[\s,:]*(`[^`]*`[\s,:]*)+", cell), f"{cell!r}: set each value in backquotes"
    return re.findall(r"`([^`]*)`", cell)


def shown(default: Any) -> str:
    """A default as a person types it."""
    if default is None:
        return NONE
    return f"`{default}`" if isinstance(default, str | Path) else f"`{json.dumps(default)}`"


def test_settings() -> None:
    expected = [
        [
            f"`{name.upper()}`",
            f"`{name}`" if name in ProjectSettings.model_fields else NONE,
            shown(field.default),
            field.description,
        ]
        for name, field in Settings.model_fields.items()
    ]
    assert table("Environment variable", "Extra parameter", "Default", "Meaning") == expected


def test_taggers() -> None:
    found = {name.strip("`"): set(quoted(provides)) for name, _, provides in table("Name", "What it is", "Provides")}
    assert found == {name: tagger.provides for name, tagger in TAGGERS.items()}


NETWORKS = (
    *("auto", "window", "bilstm", "bilstm-encoder-decoder", "cnn-cnn-lstm"),
    *("flair-bilstm-crf", "flair-contextual"),
)
"""Taggers whose options are so much alike that they stand in one table."""


def test_tagger_options() -> None:
    rows = table("Tagger", "Option", "Default", "Meaning")
    found = {(tagger.strip("`"), option.strip("`")): default for tagger, option, default, _ in rows}
    common = table("Option", *(f"`{name}`" for name in NETWORKS), "Meaning")
    for option, *defaults, _ in common:
        found |= {(name, option.strip("`")): value for name, value in zip(NETWORKS, defaults, strict=True) if value}
    assert found == {
        (name, option): NONE if field.default_factory else shown(field.default)
        for name in TAGGERS
        for option, field in tagger_class(name).Options.model_fields.items()
    }
    assert len(rows) == len([1 for name, _ in found if name not in NETWORKS])
    assert all(row[-1] for row in [*rows, *common])


def test_strategies() -> None:
    rows = table("Name", "Comes first", "Needs", "Options", "Source")
    found = {name.strip("`"): (frozenset(quoted(needs)), quoted(options)) for name, _, needs, options, _ in rows}
    assert found == {name: (needs_of(kind), options_of(kind)) for name, kind in STRATEGIES.items()}


def test_filters() -> None:
    rows = table("Filter", "Keeps", "Needs", "Options", "Source")
    found = {name.strip("`"): (frozenset(quoted(needs)), quoted(options)) for name, _, needs, options, _ in rows}
    assert found == {name: (needs_of(kind), options_of(kind)) for name, kind in FILTERS.items()}


def needs_of(kind: type[Strategy] | type[Filter]) -> frozenset[str]:
    """What it needs of the tagger, or the other model that it reads."""
    return kind.needs if kind.reads == "tagger" else frozenset({kind.reads})


def options_of(kind: type[Strategy] | type[Filter]) -> list[str]:
    """Names and defaults by turns."""
    options = inspect.signature(kind).parameters.values()
    return [text for option in options for text in (option.name, json.dumps(option.default))]


def test_routes() -> None:
    found = {tuple(route.strip("`").split()): login for route, login, _ in table("Route", "Login", "What")}
    ours = [route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, APIRoute)]
    assert found == {
        (method, route.path): "no" if route.path in OPEN else "yes" for route in ours for method in route.methods or ()
    }


def test_make_targets() -> None:
    targets = set(re.search(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)[1].split())  # type: ignore[index]
    named = {target for code in CODE for target in re.findall(r"\bmake ([a-z][\w-]*)", code)}
    assert named == targets
    assert targets <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def demo_options() -> dict[str, Any]:
    """The variables that `make run` knows besides the settings, with their defaults."""
    hints = get_type_hints(demo, include_extras=True)
    return {
        hints[name].__metadata__[0].envvar or name.upper(): parameter.default
        for name, parameter in inspect.signature(demo).parameters.items()
    }


def test_variables_exist() -> None:
    """Each `NAME=…` is a setting, the demo's, or one that the demo itself gives to Label Studio."""
    named = {name for code in CODE for name in re.findall(r"\b([A-Z][A-Z_]+)=", code)}
    known = {name.upper() for name in Settings.model_fields} | demo_options().keys() | label_studio._ENVIRONMENT.keys()
    assert {"SIMULATE", "LABEL_STUDIO_URL", "SSRF_PROTECTION_ENABLED"} <= named
    assert not named - known


def test_demo_options() -> None:
    paragraph = next(line for line in README.splitlines() if line.startswith("`make run` also knows"))
    options = demo_options()
    assert options.keys() <= set(re.findall(r"`([A-Z_]+)\b", paragraph))
    for name, value in re.findall(r"`([A-Z_]+)=(\d+)`", paragraph):
        assert options[name] is False or options[name] == int(value), name
    size, tagger = EXTRA_PARAMS["round_size"], EXTRA_PARAMS["tagger"]
    assert f"uses the tagger `{tagger}` and rounds of {size}" in paragraph


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)", FENCE.sub("", README), re.MULTILINE)
    anchors = {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(([^)\s]+)\)", README):
        assert link in anchors or link.startswith("https://") or (ROOT / link).is_file(), link
    for name, field in Settings.model_fields.items():
        for heading in re.findall(r"\*([^*]+)\*", field.description or ""):
            assert heading in headings, f"the description of {name} points to {heading!r}"


def test_layout_names_every_part() -> None:
    named = set(re.findall(r"^    (\w+(?:/|\.py)) {2,}\S", README, re.MULTILINE))
    folders = {f"{path.parent.name}/" for path in ROOT.glob("[!.]*/__init__.py")}
    assert named == folders | {path.name for path in ROOT.glob("*.py")}


def test_example_of_a_strategy_works() -> None:
    [source] = [block for language, block in FENCE.findall(README) if language == "python"]
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    pool = [wordless(), *random_pool(20, seed=0)]
    lengths = [len(pool[i]) for i in order(namespace["ShortestFirst"](), pool)]
    assert lengths == [*sorted(lengths[:-1]), 0]


def test_changelog_has_this_version() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()
