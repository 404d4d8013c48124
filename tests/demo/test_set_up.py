"""The files that set the project up on a fresh machine agree with the code."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from demo.process import DemoError
from learning.settings import Settings

ROOT = Path(__file__).parents[2]


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_env_example_names_every_setting_once() -> None:
    lines = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(lines) == sorted(name.upper() for name in Settings.model_fields)


def test_env_example_holds_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env here
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    defaults = Settings()
    for name, value in example().items():
        monkeypatch.setenv(name, value)
    assert Settings() == defaults
    assert not any(isinstance(value, SecretStr) for value in defaults.model_dump().values())


def test_every_requirement_is_pinned() -> None:
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text().splitlines():
            requirement = line.partition("#")[0].strip()
            if requirement and not requirement.startswith("-r"):
                assert re.fullmatch(r"[\w.-]+(\[\w+\])?(==|~=)\d[\w.]*( ; .+)?", requirement), requirement


def test_docker_gets_every_package_that_the_server_imports() -> None:
    allowed = {line[1:].strip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    packages = {"corpus", "taggers", "strategies", "labelstudio", "learning", "server", "experiments"}
    assert packages <= allowed
    assert allowed - packages == {"model.py", "cli.py", "requirements.txt", "LICENSE"}


def test_compose_and_make_use_the_same_label_studio() -> None:
    image = re.search(r"heartexlabs/label-studio:(\S+)", (ROOT / "docker-compose.yml").read_text())
    made = re.search(r"LABEL_STUDIO_VERSION := (\S+)", (ROOT / "Makefile").read_text())
    assert image and made
    assert image[1] == made[1]


def test_demo_parameters_are_accepted() -> None:
    from demo.__main__ import EXTRA_PARAMS

    chosen = Settings().for_project(json.dumps(EXTRA_PARAMS))
    assert {name: getattr(chosen, name) for name in EXTRA_PARAMS} == EXTRA_PARAMS


def test_a_wrong_setting_is_named_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from demo.__main__ import _settings

    monkeypatch.setenv("ROUND_SIZE", "many")
    with pytest.raises(DemoError, match=r"ROUND_SIZE .*integer"):
        _settings()
