"""Imports run one way, and modules stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 400

LEARNING = {"corpus", "taggers", "strategies", "learning"}
ALLOWED: dict[str, set[str]] = {
    "corpus": set(),
    "taggers": {"corpus"},
    "strategies": {"corpus"},
    "learning": {"corpus", "taggers", "strategies"},
    "labelstudio": {"corpus"},
    "model": LEARNING | {"labelstudio"},
    "experiments": LEARNING | {"labelstudio"},
    "server": LEARNING | {"labelstudio", "experiments", "model"},
    "pools": LEARNING | {"labelstudio", "model", "server"},
    "cli": LEARNING | {"model", "server", "pools"},
    "demo": LEARNING | {"labelstudio", "experiments", "model", "server", "benchmarks"},
    "benchmarks": LEARNING | {"labelstudio", "experiments", "model", "server", "demo", "pools"},
}
"""Which parts of the project each part may import, besides itself. Nothing may import `tests`."""

FOREIGN: dict[str, set[str]] = {
    "learning": {"fastapi", "starlette", "huey", "requests", "httpx", "label_studio_sdk", "label_studio_ml"},
    "corpus": {"torch", "flair", "transformers", "label_studio_sdk", "label_studio_ml"},
    "model": {"huey"},
}
"""Libraries that a part knows nothing of."""

PARTS = {*ALLOWED, "tests"}


def part_of(path: Path) -> str:
    """The part of the project that a module belongs to: its top folder, or its own name."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def modules() -> list[Path]:
    found = [path for part in ALLOWED for path in (ROOT / part).rglob("*.py")]
    return sorted([*found, *ROOT.glob("*.py")])


def imported(source: str) -> set[str]:
    """The top names of all that a module imports, wherever in it; its own relatives left out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def trespasses(part: str, names: Iterable[str]) -> set[str]:
    """What of `names` a module of `part` must not import."""
    theirs = PARTS - ALLOWED[part] - {part} | FOREIGN.get(part, set())
    return theirs & set(names)


NAMED = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in modules()]


@pytest.mark.parametrize("path", NAMED)
def test_imports_run_one_way(path: Path) -> None:
    assert part_of(path) in ALLOWED, "a new part of the project: say here what it may import"
    assert not trespasses(part_of(path), imported(path.read_text()))


@pytest.mark.parametrize("path", NAMED)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_no_folder_of_code_is_overlooked() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("[!.]*/**/*.py")}
    assert folders <= PARTS


def test_order_has_no_cycle() -> None:
    """Of the parts that are shipped: demo and benchmarks stand outside."""
    shipped = {part: set(below) for part, below in ALLOWED.items() if part not in ("demo", "benchmarks")}
    while shipped:
        lowest = {part for part, below in shipped.items() if not below & shipped.keys()}
        assert lowest, f"a cycle among {sorted(shipped)}"
        shipped = {part: below for part, below in shipped.items() if part not in lowest}


@pytest.mark.parametrize(
    ("part", "source", "caught"),
    [
        ("strategies", "import numpy as np\nfrom corpus import Inference", set()),
        ("strategies", "from taggers.base import Tagger", {"taggers"}),
        ("corpus", "def f():\n    import torch.nn", {"torch"}),
        ("corpus", "from labelstudio import records", {"labelstudio"}),
        ("learning", "import labelstudio.api as api, json", {"labelstudio"}),
        ("learning", "try:\n    from server import app\nexcept ImportError: pass", {"server"}),
        ("labelstudio", "from corpus.sentence import Span\nfrom labelstudio.records import Task", set()),
        ("labelstudio", "if TYPE_CHECKING:\n    from learning import Venue", {"learning"}),
        ("model", "from learning import rounds\nfrom labelstudio import records", set()),
        ("model", "from server.settings import Settings", {"server"}),
        ("server", "from tests.server import fakes", {"tests"}),
        ("benchmarks", "import server, demo, model\nfrom . import selection", set()),
    ],
)
def test_trespasses_are_caught(part: str, source: str, caught: set[str]) -> None:
    assert trespasses(part, imported(source)) == caught


@pytest.mark.parametrize("path", [p for p in NAMED if p.id and p.id.startswith("strategies")])
def test_strategies_are_pure_numpy(path: Path) -> None:
    neighbours = {"faiss"} if path.name == "filters.py" else set()
    assert imported(path.read_text()) - sys.stdlib_module_names <= {"numpy", "corpus", "strategies"} | neighbours


OLD = {"flask", "werkzeug", "jinja2", "itsdangerous"}
"""What label-studio-ml 1.0.9 pins: versions with known faults. `end_to_end/test_secrets.py` looks at a real round."""


def test_no_process_loads_the_old_flask() -> None:
    """Nor anything that comes with it: transformers alone reads Jinja2, where a tagger has an encoder."""
    processes = "server.__main__, server.app, server.trainer, server.child, cli, model"
    code = f"import sys, {processes}; print(sorted({OLD!r} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_training_process_loads_it_no_more_than_that(tmp_path: Path) -> None:
    """With an encoder, and a model that is trained, stored and read again."""
    code = f"""
import sys
from server.child import warm_up
warm_up()
from pathlib import Path
from corpus.sentence import Sentence, Span
from taggers import load, tagger_class
folder = Path({str(tmp_path / "model")!r})
sentences = [Sentence.from_text(str(n), "Ada saw Oslo", (Span(0, 3, "PER"),)) for n in range(8)]
tagger = tagger_class("window")()
tagger.fit(sentences, [])
tagger.save(folder)
load(folder).predict(sentences)
print(sorted({OLD - {"jinja2"}!r} & sys.modules.keys()), "transformers" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[] True", run.stderr


def test_strategies_load_no_torch() -> None:
    """Not by way of what they import either; and faiss only where it is used."""
    code = "import sys, strategies; print({'torch', 'flair', 'transformers', 'faiss'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
