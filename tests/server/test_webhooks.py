"""The secret of webhooks, against a Label Studio that holds some; the real one in `end_to_end/test_secrets.py`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from labelstudio.client import Webhook
from learning.settings import Settings
from server.webhooks import HEADER, carry_secret, headers, secure

ROOT = Path(__file__).parents[2]
URL = "http://backend.test:9090"
OURS = {"url": f"{URL}/", "basic_auth_user": "me"}
OTHER = {"url": "http://other.test", "basic_auth_user": "another"}


def settings(password: str | None = "a long password", user: str = "me") -> Settings:
    login = {"basic_auth_user": user, "basic_auth_pass": SecretStr(password)} if password else {}
    return Settings(_env_file=None, **login)


class FakeLabelStudio:
    def __init__(self, *webhooks: Webhook, backends=(OURS, OTHER)) -> None:
        self.held = {webhook.id: webhook for webhook in webhooks}
        self.backends = list(backends)

    def ml_backends(self, project_id):
        return self.backends

    def webhooks(self, project_id):
        return list(self.held.values())

    def add_webhook_headers(self, webhook, new):
        self.held[webhook.id] = replace(webhook, headers={**webhook.headers, **new})


def webhook(id: int, url: str = f"{URL}/webhook", **given: str) -> Webhook:
    return Webhook(id, url, active=True, whole=True, headers=given)


def test_the_secret_is_the_definitions():
    salt = b"active-tagger webhook me"
    wanted = hashlib.scrypt(b"a long password", salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=24).hex()
    assert headers(settings()) == {HEADER: wanted}


def test_another_password_or_user_has_another_secret():
    several = [headers(settings(*login))[HEADER] for login in (("one",), ("two",), ("one", "you"))]
    assert len(set(several)) == 3
    assert headers(settings(None)) == {}


def test_what_carries_it():
    secret = headers(settings())[HEADER]
    assert carry_secret({HEADER: secret}, settings())
    assert carry_secret({HEADER.upper(): secret}, settings())
    for wrong in ({}, {HEADER: ""}, {HEADER: secret[:-1]}, {HEADER: secret + "0"}, {HEADER: "ä"}, {"Other": secret}):
        assert not carry_secret(wrong, settings())
    assert not carry_secret({HEADER: secret}, settings("another password"))
    assert not carry_secret({HEADER: ""}, settings(None)), "an empty secret is none"


def test_only_our_webhook_is_given_it_and_only_once():
    elsewhere = [
        webhook(2, "http://other.test/webhook"),
        webhook(3, f"{URL}/webhook/2"),
        webhook(4, "http://chat.test"),
    ]
    studio = FakeLabelStudio(webhook(1, Mine="stays"), *elsewhere)
    assert secure(studio, 4, settings())
    assert studio.held[1].headers == {"Mine": "stays", **headers(settings())}
    assert [studio.held[other.id] for other in elsewhere] == elsewhere
    assert not secure(studio, 4, settings())


def test_a_changed_password_makes_a_new_one():
    studio = FakeLabelStudio(webhook(1))
    secure(studio, 4, settings("the first password"))
    assert secure(studio, 4, settings("the second password"))
    assert studio.held[1].headers == headers(settings("the second password"))


@pytest.mark.parametrize("backends", [[], [OTHER], [{**OURS, "basic_auth_user": ""}], [{"url": URL}]])
def test_where_no_backend_asks_with_our_name_nothing_is_given_away(backends):
    studio = FakeLabelStudio(webhook(1), backends=backends)
    assert not secure(studio, 4, settings())
    assert studio.held[1].headers == {}


def test_without_a_password_label_studio_is_not_even_asked():
    assert not secure(None, 4, settings(None))  # type: ignore[arg-type]


def test_the_secret_is_not_in_what_is_printed_of_a_webhook():
    secret = headers(settings())
    assert secret[HEADER] not in repr(webhook(1, **secret))


def test_it_can_be_printed_for_those_who_type_it(tmp_path):
    login = {"BASIC_AUTH_USER": "me", "BASIC_AUTH_PASS": "a long password", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "server.webhooks"]
    done = subprocess.run(command, cwd=tmp_path, env=login, capture_output=True, text=True, check=True)
    assert done.stdout == f"{HEADER}: {headers(settings())[HEADER]}\n"
