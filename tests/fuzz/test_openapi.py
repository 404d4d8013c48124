"""Every route, as its OpenAPI document describes it, and as it does not."""

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from learning.database import Round
from server.app import app
from server.security import described
from tests.fuzz.hostile import body, check
from tests.fuzz.test_requests import settled
from tests.server.conftest import CONFIG, KEY

pytestmark = pytest.mark.slow

CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]
OPERATIONS = {
    found.ok().label: found.ok()
    for found in schemathesis.openapi.from_dict(described(app.openapi())).get_all_operations()
}
ENDLESS = "GET /api/events"


def test_the_document_has_every_route_that_is_meant_for_others():
    assert {
        "POST /setup",
        "POST /predict",
        "POST /webhook",
        "GET /versions",
        "GET /health",
        ENDLESS,
    } <= OPERATIONS.keys()
    assert len(OPERATIONS) > 20


def aim(case, version: str) -> None:
    """Half of the requests go to the project that is there, or nearly all would end in a 404."""
    if "key" in case.path_parameters:
        case.path_parameters["key"] = KEY
    if "version" in case.path_parameters:
        case.path_parameters["version"] = version
    if isinstance(case.body, dict):
        if "project" in case.body:
            case.body["project"] = KEY
        for config in {"schema", "label_config"} & case.body.keys():
            case.body[config] = CONFIG


def fuzz(sender, label: str, max_examples: int) -> None:
    with sender.workspace.db.read() as session:
        version = session.query(Round.version).first()[0]
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    if OPERATIONS[label].definition.raw.get("parameters") is None and OPERATIONS[label].method == "get":
        modes = modes[:1]  # there is nothing that could be wrong
    for mode in modes:

        @settled(max_examples)
        @given(OPERATIONS[label].as_strategy(generation_mode=mode), st.booleans())
        def run(case, aimed):
            if aimed:
                aim(case, version)
            if isinstance(case.body, dict) and "hostname" in case.body:
                case.body["hostname"] = "http://127.0.0.1:9"  # nothing leaves this machine
            sent = case.as_transport_kwargs(base_url="http://testserver")
            content = body(sent["json"]) if "json" in sent else sent.get("data")
            headers = {
                name: value for name, value in sent["headers"].items() if value.isascii() and value.isprintable()
            }
            response = sender.client.request(
                sent["method"], sent["url"], params=sent.get("params"), headers=headers, content=content
            )
            check(response)
            case.validate_response(response, checks=CHECKS)

        run()


@pytest.mark.parametrize("label", sorted(OPERATIONS.keys() - {ENDLESS}))
def test_answers_are_as_described(sender, label):
    fuzz(sender, label, 4)


@pytest.mark.parametrize("label", sorted(OPERATIONS.keys() - {ENDLESS}))
def test_answers_are_as_described_at_length(sender, label):
    fuzz(sender, label, 30)
