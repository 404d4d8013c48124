"""The connection check, against a Label Studio that answers as it is told."""

from __future__ import annotations

import os
import threading
import time
from collections import namedtuple
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from labelstudio.client import ProjectRecord, Refused, Unauthorized, Unreachable, Webhook
from labelstudio.errors import HOW_TO_GET_A_TOKEN
from learning.database import Project, Round
from learning.settings import Settings
from learning.workspace import Workspace
from server import checks as module
from server import heartbeat, judgements, machine, webhooks
from server.checks import checks, mend
from server.connection import access
from tests.server.conftest import BORN, CONFIG, KEY

VERSION = "v3-20260101-120000"
URL = "http://label-studio.test"
BACKEND = {
    "id": 7,
    "url": "http://backend.test:9090/",
    "title": "Active Tagger",
    "state": "CO",
    "error_message": None,
    "model_version": VERSION,
}


class FakeLabelStudio:
    """All is well until a test changes an answer; an exception as an answer is raised, a number is waited for."""

    url = URL

    def __init__(self) -> None:
        self.answers = {
            "check": None,
            "project": self.record(),
            "may_change": True,
            "ml_backends": [BACKEND],
            "webhooks": [Webhook(1, "http://backend.test:9090/webhook", active=True, whole=True)],
            "tab": 5,
            "model_versions": {VERSION: 40},
            "clock": datetime.now(UTC),
        }
        self.written = []

    def record(self, **changes) -> ProjectRecord:
        well = {"sampling": "Uncertainty sampling", "model_version": VERSION, "label_config": CONFIG}
        return ProjectRecord(**{"id": 4, "title": "News", "created_at": BORN, **well, **changes})

    def __getattr__(self, name):
        def answer(*args):
            if name.startswith(("set_", "ensure_")):
                self.written.append((name, *args))
                return None
            found = self.answers[name]
            if isinstance(found, Exception):
                raise found
            if isinstance(found, threading.Event):
                found.wait(10)
            return found

        return answer


@pytest.fixture
def studio(monkeypatch):
    fake = FakeLabelStudio()
    monkeypatch.setattr("server.connection.Access.client", lambda way, timeout: fake if way.url and way.token else None)
    return fake


@pytest.fixture
def space(tmp_path):
    """A workspace with project 4, at VERSION, and a trainer that has just looked."""
    settings = {"data_dir": tmp_path, "label_studio_url": URL, "label_studio_api_key": SecretStr("a-key")}
    made = Workspace(Settings(_env_file=None, tagger="crf", strategy="mnlp", **settings))
    with made.db.write() as session:
        session.add(project := Project(key=KEY, external_id=4, label_config=CONFIG, connection={}, extra_params={}))
        session.flush()
        common = {"project_id": project.id, "kind": "fit", "state": "done", "reason": "", "owner": "", "revision": 0}
        session.add(this := Round(number=3, version=VERSION, **common))
        session.flush()
        project.current_round_id = this.id
    heartbeat.beat(made)
    return made


def found(space, name):
    (check,) = [check for check in checks(space, KEY) if check.name == name]
    return check


def test_a_healthy_connection_is_all_well(space, studio):
    listed = checks(space, KEY)
    assert {check.name: check.ok for check in listed} == {check.name: True for check in listed}
    assert len({check.name for check in listed}) == len(listed) >= 14
    assert not any(check.remedy or check.mendable for check in listed)
    assert studio.written == []
    assert set(listed[0].as_json()) == {"name", "title", "ok", "text", "remedy", "mendable"}


OF_THE_MACHINE = ["trainer", "database", "pages", "model", "round", "disk", "memory", "password"]
REFUSED = Unauthorized(f"Label Studio, GET x: the token is not accepted (Invalid token.); {HOW_TO_GET_A_TOKEN}")
DEAD = {**BACKEND, "state": "DI"}
BROKEN = {**BACKEND, "state": "ER", "error_message": "status 500"}
OTHER = {**BACKEND, "id": 8, "url": "http://other.test", "model_version": "llm"}
WEBHOOK = "http://backend.test:9090/webhook"


@pytest.mark.parametrize(
    ("question", "answer", "name", "text", "remedy", "mendable"),
    [
        (
            "check",
            Unreachable("GET x: ConnectError; is it running"),
            "address",
            "ConnectError",
            "Start",
            0,
        ),
        ("check", REFUSED, "token", "Invalid token", "Personal Access Token", 0),
        ("may_change", False, "token", "may not change", "of a user who may", 0),
        ("project", Refused("none", 404), "project", "no project 4", "LABEL_STUDIO_URL", 0),
        ("project", {"created_at": "2026-02-02T00:00:00Z"}, "project", "is another one", "LABEL_STUDIO_URL", 0),
        ("project", {"sampling": "Sequential sampling"}, "sampling", "Sequential", "Task Sampling", 1),
        ("project", {"model_version": "Active Tagger"}, "model_version", "'Active Tagger'", VERSION, 1),
        ("project", {"model_version": ""}, "model_version", "no version", VERSION, 1),
        ("project", {"maximum_annotations": 2}, "overlap", "2 times", "maximum_annotations", 0),
        ("project", {"label_config": "<View/>"}, "label_config", "no labelling tag", "Labeling Interface", 0),
        ("ml_backends", [], "backend", "no ML backend", "Connect Model", 0),
        ("ml_backends", [DEAD], "backend", "no usable answer", "USE_DEFAULT_BANNED_SUBNETS", 0),
        ("ml_backends", [BROKEN], "backend", "status 500", "runs", 0),
        ("ml_backends", [OTHER], "backend", "none of ours", "Settings > Model", 0),
        ("ml_backends", [OTHER, BACKEND], "backend", "2 ML backends", "Remove the others", 0),
        ("webhooks", [], "webhook", "was deleted", "Webhooks", 1),
        ("webhooks", [Webhook(1, WEBHOOK, active=False, whole=True)], "webhook", "switched off", "active", 1),
        ("webhooks", [Webhook(1, WEBHOOK, active=True, whole=False)], "webhook", "lacks", "payload", 1),
        ("tab", None, "tab", "no tab", "Make it", 1),
    ],
)
def test_each_fault_is_found_with_its_remedy(space, studio, question, answer, name, text, remedy, mendable):
    studio.answers[question] = studio.record(**answer) if isinstance(answer, dict) else answer
    check = found(space, name)
    assert check.ok is False
    assert text in check.text
    assert remedy in check.remedy
    assert check.mendable is bool(mendable)
    beside = {check.name for check in checks(space, KEY) if check.ok is False}
    assert beside == {name}  # one fault is one line, and not ten


def test_what_cannot_be_told_says_so(space, studio):
    studio.answers["check"] = Unreachable("no answer")
    told = {check.name: check.ok for check in checks(space, KEY)}
    assert [name for name, ok in told.items() if ok] == ["label_config", "settings", *OF_THE_MACHINE]
    assert [name for name, ok in told.items() if ok is False] == ["address"]
    studio.answers["check"] = None
    studio.answers["tab"] = Unreachable("Label Studio, GET tabs: failed with 500")
    assert found(space, "tab").ok is None
    assert "failed with 500" in found(space, "tab").text


def test_an_answer_of_another_kind_is_no_crash(space, studio):
    studio.answers["project"] = KeyError("id")
    assert found(space, "project").ok is None
    assert found(space, "overlap").ok is None


def test_a_label_studio_that_hangs_does_not_keep_people_waiting(space, studio, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    for slow in ("check", "ml_backends"):
        studio.answers[slow] = over = threading.Event()
        began = time.monotonic()
        listed = {check.name: check for check in checks(space, KEY)}
        assert time.monotonic() - began < 5
        over.set()
        studio.answers[slow] = None if slow == "check" else [BACKEND]
        name = "address" if slow == "check" else "backend"
        assert listed[name].ok is (False if slow == "check" else None)
        assert "no answer within" in listed[name].text
        assert listed["sampling"].ok is (None if slow == "check" else True)


def test_a_version_without_predictions_cannot_be_followed(space, studio):
    studio.answers["project"] = studio.record(model_version="v2")
    studio.answers["model_versions"] = {"v2": 40}
    check = found(space, "model_version")
    assert (check.ok, check.mendable) == (False, False)
    assert "start a round" in check.remedy
    with pytest.raises(ValueError, match="start a round"):
        mend(space, KEY, "model_version")
    assert studio.written == []


def test_before_the_first_round_there_is_no_version_to_follow(space, studio):
    with space.db.write() as session:
        session.query(Project).one().current_round_id = None
    assert found(space, "model_version").ok is None


@pytest.mark.parametrize(
    ("name", "question", "wrong", "written"),
    [
        ("sampling", "project", {"sampling": "Uniform sampling"}, ("set_sampling", 4, "Uncertainty sampling")),
        ("model_version", "project", {"model_version": "v1"}, ("set_model_version", 4, VERSION)),
        ("tab", "tab", None, ("ensure_tab", 4)),
        ("webhook", "webhooks", [], ("ensure_webhook", 4, WEBHOOK, {})),
    ],
)
def test_mending_sets_what_is_wrong_and_nothing_else(space, studio, name, question, wrong, written):
    mend(space, KEY, name)
    assert studio.written == []
    studio.answers[question] = studio.record(**wrong) if isinstance(wrong, dict) else wrong
    mend(space, KEY, name)
    assert studio.written == [written]


def test_with_a_password_the_webhook_must_carry_the_secret(space, studio):
    closed = {"basic_auth_user": "me", "basic_auth_pass": SecretStr("a long password")}
    space.settings = space.settings.model_copy(update=closed)
    secret = webhooks.headers(space.settings)
    check = found(space, "webhook")
    assert (check.ok, check.mendable) == (False, True)
    assert "lacks the secret" in check.text and "python -m server.webhooks" in check.remedy
    mend(space, KEY, "webhook")
    assert studio.written == [("ensure_webhook", 4, WEBHOOK, secret)]
    studio.answers["webhooks"] = [
        Webhook(1, WEBHOOK, active=True, whole=True, headers={"x-active-tagger-secret": "old"})
    ]
    assert found(space, "webhook").ok is False
    studio.answers["webhooks"] = [Webhook(1, WEBHOOK, active=True, whole=True, headers=secret)]
    assert found(space, "webhook").ok
    assert secret[webhooks.HEADER] not in str(checks(space, KEY))


def test_mending_says_what_it_cannot_do(space, studio):
    with pytest.raises(LookupError, match="sampling"):
        mend(space, KEY, "disk")
    with pytest.raises(LookupError, match="not known"):
        mend(space, "99", "sampling")
    with pytest.raises(LookupError, match="not known"):
        checks(space, "99")
    studio.answers["check"] = Unreachable("nobody is there")
    with pytest.raises(ValueError, match="nobody is there"):
        mend(space, KEY, "sampling")


def test_settings_that_no_longer_fit(space, studio):
    with space.db.write() as session:
        session.query(Project).one().extra_params = {"tagger": "gone"}
    assert "unknown tagger 'gone'" in found(space, "settings").text


def test_the_trainers_sign_of_life(space, studio):
    sign = space.settings.data_dir / heartbeat.NAME
    os.utime(sign, (time.time() - 7_300,) * 2)
    check = found(space, "trainer")
    assert check.ok is False
    assert "2 hours old" in check.text
    assert "python -m server" in check.remedy
    sign.unlink()
    assert "does not run" in found(space, "trainer").text
    heartbeat.beat(space)
    assert found(space, "trainer").ok


def test_a_clock_that_differs_from_label_studios(space, studio):
    studio.answers["clock"] = datetime.now(UTC) + timedelta(hours=2, seconds=5)
    check = found(space, "clock")
    assert (check.ok, check.text) == (False, "It is 2 hours behind Label Studio's.")
    studio.answers["clock"] = datetime.now(UTC) - timedelta(days=3, seconds=5)
    assert found(space, "clock").text == "It is 3 days ahead of Label Studio's."
    studio.answers["clock"] = None
    assert found(space, "clock").ok is None


def test_memory(space, studio, monkeypatch):
    monkeypatch.setattr(machine, "_memory", lambda: (8 * 2.0**30, 2.0**30))
    assert "1.0 GB of 8.0 are free; a training may take all" in found(space, "memory").text
    space.settings = space.settings.model_copy(update={"trainer_memory_gb": 9})
    check = found(space, "memory")
    assert (check.ok, check.text) == (False, "TRAINER_MEMORY_GB is 9, and this machine has 8.0 GB.")
    monkeypatch.setattr(machine, "_memory", lambda: (16 * 2.0**30, 1e8))
    assert "the system may end a training" in found(space, "memory").text


def test_open_to_all(space, studio):
    space.settings = space.settings.model_copy(update={"host": "0.0.0.0"})
    check = found(space, "password")
    assert check.ok is False and "there is no password" in check.text


def test_a_damaged_page_and_a_damaged_model(space, studio, tmp_path):
    with space.db.write() as session:
        fitted = session.query(Round).one()
        fitted.model_round_id = fitted.id
    check = found(space, "model")
    assert check.ok is False and VERSION in check.text and "cli train" in check.remedy
    with space.db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        wanted = "SELECT rootpage FROM sqlite_master WHERE name = 'simulations'"  # which nothing else here reads
        page = connection.exec_driver_sql(wanted).scalar_one()
    space.db.engine.dispose()
    with (tmp_path / "active-tagger.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    check = found(space, "pages")
    assert check.ok is False and "damaged" in check.text and "restore" in check.remedy


def test_a_full_disk(space, studio, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage(10e9, 9.6e9, 0.4e9))
    assert found(space, "disk").text.startswith("Only 0.4 GB")


def test_a_database_that_is_locked(space, studio, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    with space.db.write() as session:  # what another process that hangs would hold
        session.query(Project).one()
        check = found(space, "database")
    assert check.ok is False
    assert "keeps the database locked" in check.text and check.remedy.startswith("End it")
    assert found(space, "database").ok


def test_without_a_project_only_what_needs_none(space, studio):
    listed = {check.name: check.ok for check in checks(space, None)}
    assert listed == dict.fromkeys(["address", "token", *OF_THE_MACHINE, "clock"], True)


def test_neither_address_nor_token(tmp_path, space, studio):
    bare = Workspace(Settings(_env_file=None, data_dir=tmp_path))
    listed = {check.name: check for check in checks(bare, KEY)}
    assert "LABEL_STUDIO_URL" in listed["address"].remedy
    assert "Personal Access Token" in listed["token"].remedy
    assert listed["sampling"].ok is None


def test_a_lent_token_that_does_not_serve(tmp_path, space, studio):
    with space.db.write() as session:
        session.query(Project).one().connection = {"hostname": URL, "access_token": "lent-token"}
    bare = Workspace(Settings(_env_file=None, data_dir=tmp_path))
    studio.answers["check"] = REFUSED
    listed = {check.name: check for check in checks(bare, KEY)}
    assert listed["address"].ok
    assert "lent" in listed["token"].text
    assert "LABEL_STUDIO_API_KEY" in listed["token"].remedy
    assert "lent-token" not in str(listed)


def test_our_key_goes_to_our_address_only():
    lent = {"hostname": "http://elsewhere.test", "access_token": "lent"}
    key = SecretStr("our-key")

    def way(**settings):
        found = access(Settings(_env_file=None, **settings), lent)
        return found.url, found.token, found.lent

    assert way(label_studio_url=URL, label_studio_api_key=key) == (URL, "our-key", False)
    assert way(label_studio_api_key=key) == ("http://elsewhere.test", "lent", True)
    assert way(label_studio_url=URL) == (URL, "lent", True)
    assert "our-key" not in repr(access(Settings(_env_file=None, label_studio_url=URL, label_studio_api_key=key), {}))


EVERYTHING = CONFIG.replace(
    "</View>",
    '<Relations><Relation value="in"/></Relations>'
    '<Choices name="topic" toName="text" choice="multiple"><Choice value="news"/><Choice value="other"/></Choices>'
    "</View>",
)


@pytest.mark.parametrize("extra, fits", [({}, True), ({"strategy": "badge"}, False)])
def test_every_kind_of_mark_is_told_and_the_strategy_fits_all_that_order(tmp_path, extra, fits):
    settings = Settings(_env_file=None, data_dir=tmp_path, tagger="crf", strategy="mnlp")
    project = Project(key=KEY, external_id=4, label_config=EVERYTHING, connection={}, extra_params=extra)
    known = judgements.Known(project, VERSION, {VERSION}, settings, {})
    assert judgements.config_is_understood(known).text == (
        "“label” marks spans of “text” with 2 labels. Relations between these spans have 1 label. "
        "“topic” gives “text” any number of 2 labels."
    )
    told = judgements.settings_fit(known)
    assert told.ok is fits, told.text
    if not fits:
        assert told.text.startswith("The queue by spans: 'badge' needs")
