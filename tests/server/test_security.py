import base64
import json

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from pydantic import SecretStr

from server import webhooks
from server.app import app
from server.exposure import warnings
from server.security import OPEN, Gate
from tests.server.conftest import Sender

ROUTES = sorted(
    (method, route.path)
    for route in iter_route_contexts(app.routes)
    if isinstance(route.original_route, APIRoute)
    for method in route.methods or ()
)
LOGIN = ("me", "pass:word")


def address(path: str) -> str:
    known = {"key": "4", "name": "token", "id": "1", "version": "v1", "path:path": "api.js"}
    for name, value in known.items():
        path = path.replace("{" + name + "}", value)
    assert "{" not in path
    return path


@pytest.fixture
def closed(workspace):
    """A client of a backend with a password."""
    workspace.settings = workspace.settings.model_copy(
        update={"basic_auth_user": LOGIN[0], "basic_auth_pass": SecretStr(LOGIN[1])}
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_all_routes_are_looked_at():
    """Whatever is not an ordinary route (a mount, a WebSocket) must be looked at here too."""
    assert {type(route.original_route) for route in iter_route_contexts(app.routes)} == {APIRoute}
    assert {("GET", "/health"), ("POST", "/webhook"), ("GET", "/metrics"), ("GET", "/openapi.json")} <= set(ROUTES)


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[1] != "/health"])
def test_every_route_asks_for_the_password(closed, method, path):
    for login in (None, ("me", "wrong"), ("you", "pass:word"), ("me:pass", "word2"), ("", "")):
        for accept in ("*/*", "text/html"):
            refused = closed.request(method, address(path), json={}, auth=login, headers={"Accept": accept})
            assert refused.status_code == 401
            assert refused.headers.get("www-authenticate", "Basic" if path == "/webhook" else None) == "Basic"
    if path != "/api/events":  # which does not end
        assert closed.request(method, address(path), json={}, auth=LOGIN).status_code != 401


def test_health_alone_is_open(closed):
    assert set(OPEN) == {"/health"}
    assert closed.get("/health").status_code == 200
    assert closed.get("/", headers={"Accept": "*/*"}).status_code == 401
    assert closed.get("/", headers={"Accept": "text/html"}, auth=LOGIN).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic ",
        "Basic %%%",
        "Bearer " + base64.b64encode(b"me:pass:word").decode(),
        base64.b64encode(b"me:pass:word").decode(),
        "Basic " + base64.b64encode(b"me").decode(),
        "Basic " + base64.b64encode(b"me:pass:word\n").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
    ],
)
def test_headers_of_every_kind_are_no_password(closed, authorization):
    assert closed.get("/api/projects", headers={"Authorization": authorization}).status_code == 401


@pytest.mark.parametrize("host", ["x/health?", "x/health#", "testserver/health", "[", "a b", "x\\health", ""])
def test_the_host_header_opens_nothing(closed, host):
    """A URL put together with it would have another path."""
    assert closed.get("/api/projects", headers={"Host": host}).status_code == 401


@pytest.mark.parametrize("path", ["//health", "/health/", "/health/../api/projects", "/Health", "/health%2F..%2Fapi"])
def test_nothing_that_resembles_health_is_open(closed, path):
    answer = closed.request("GET", f"http://testserver{path}")
    assert answer.status_code == 401


def test_unknown_paths_and_methods_tell_nothing(closed):
    for method, path in (("GET", "/nowhere"), ("DELETE", "/api/projects"), ("OPTIONS", "/predict"), ("TRACE", "/")):
        assert closed.request(method, path).status_code == 401
        assert closed.request(method, path, auth=LOGIN).status_code in (404, 405)


def test_nothing_of_a_body_is_read_before_the_password(closed):
    def body():
        raise AssertionError("read")
        yield b""

    async def receive():
        raise AssertionError("read")

    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"99999999"), (b"host", b"testserver")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    closed.portal.call(app, {**scope, "app": app, "client": ("1.2.3.4", 5)}, receive, send)
    assert sent[0]["status"] == 401


def test_events_come_in_with_the_secret_or_the_password(closed, workspace):
    setup = Sender(closed)
    closed.auth = LOGIN
    setup.setup()
    closed.auth = None
    told = {"action": "START_TRAINING", "project": {"id": 4, "created_at": "2026-01-01T00:00:00.500000Z"}}
    secret = webhooks.headers(workspace.settings)
    assert closed.post("/webhook", json=told).status_code == 401
    assert closed.post("/webhook", json=told, headers={webhooks.HEADER: "0" * 48}).status_code == 401
    assert closed.post("/webhook", json=told, headers={webhooks.HEADER: ""}).status_code == 401
    assert closed.post("/webhook", json=told, headers=secret).status_code == 200
    assert closed.post("/webhook", json=told, headers={webhooks.HEADER.lower(): secret[webhooks.HEADER]}).is_success
    assert closed.post("/webhook", json=told, auth=LOGIN).status_code == 200
    assert closed.post("/webhook", json=told, auth=("me", "wrong"), headers=secret).status_code == 200
    assert closed.post("/predict", json={}, headers=secret).status_code == 401  # it opens /webhook alone


def test_events_need_nothing_where_there_is_no_password(sender):
    sender.setup()
    assert sender.webhook("START_TRAINING").status_code == 200


def test_who_is_not_let_in_stands_in_the_log_once_a_minute(closed, caplog):
    newcomer = TestClient(Gate(app))
    for _ in range(5):
        assert newcomer.get("/api/projects%0a2026 forged", auth=("me", "guess")).status_code == 401
    (line,) = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert "testclient" in line and "\n" not in line
    assert "guess" not in line and LOGIN[1] not in line


def test_the_document_says_what_is_asked_for(closed):
    document = closed.get("/openapi.json", auth=LOGIN).json()
    assert document["security"] == [{"password": []}]
    said = {path: [o.get("security") for o in operations.values()] for path, operations in document["paths"].items()}
    assert {path: s for path, s in said.items() if s != [None] * len(s)} == {
        "/health": [[]],
        "/webhook": [[{"password": []}, {"webhook": []}]],
    }
    assert document["components"]["securitySchemes"]["webhook"]["name"] == webhooks.HEADER


# -- what it is open to ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1", "tagger.localhost"])
def test_on_this_machine_alone_nothing_is_said(workspace, host):
    assert warnings(workspace.settings.model_copy(update={"host": host})) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "tagger.example.com"])
def test_listening_for_others_without_a_password_is_said(workspace, host):
    settings = workspace.settings.model_copy(update={"host": host})
    (said,) = warnings(settings)
    assert host in said and "BASIC_AUTH_USER" in said and "all routes" in said
    closed = {"basic_auth_user": "me", "basic_auth_pass": SecretStr("long enough to keep")}
    assert warnings(settings.model_copy(update=closed)) == []


def test_a_short_password_is_said_without_saying_it(workspace):
    closed = {"basic_auth_user": "me", "basic_auth_pass": SecretStr("tiny-one")}
    (said,) = warnings(workspace.settings.model_copy(update=closed))
    assert "BASIC_AUTH_PASS is short" in said and "tiny-one" not in said


# -- other sites' pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9090", 200),
        ("localhost:9090", 200),
        ("[::1]:9090", 200),
        ("192.168.1.4", 200),
        ("backend:9090", 200),
        ("host.docker.internal:9090", 200),
        ("evil.example:9090", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example", 421),
        ("EVIL.example.:80", 421),
        ("x@evil.example", 421),
        ("", 200),
    ],
)
def test_names_that_others_have_made_to_lead_here(client, host, status):
    """DNS rebinding: to a browser a page of that name, and this backend, are one site."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/projects", headers=headers).status_code == status


def test_with_a_password_any_name_will_do(closed):
    assert closed.get("/api/projects", headers={"Host": "tagger.example.com"}, auth=LOGIN).status_code == 200
    assert closed.get("/health", headers={"Host": "tagger.example.com"}).status_code == 200


CHANGING = [route for route in ROUTES if route[0] not in ("GET", "HEAD")]


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:81"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
def test_other_sites_may_change_nothing(sender, method, path, headers):
    sender.setup()
    answer = sender.client.request(method, address(path), json={"paused": True}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://testserver"}],
)
def test_our_own_page_and_programs_may(sender, headers):
    sender.setup()
    answer = sender.client.post("/api/projects/4/pause", json={"paused": True}, headers=headers)
    assert answer.status_code == 200


def test_other_sites_may_look_as_far_as_the_browser_lets_them(sender):
    """Reading is guarded by the browser (no CORS headers); a link from elsewhere opens the page."""
    answer = sender.client.get("/api/projects", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/api/projects/4/pause"])
def test_bodies_that_a_form_can_send_are_refused(sender, workspace, path, kind):
    sender.setup()
    before = sender.client.get("/api/projects/4").json()
    event = {
        "action": "PROJECT_UPDATED",
        "project": {"id": 4, "created_at": "2026-01-01T00:00:00.500000Z", "title": "!"},
    }
    told = {"paused": True, "project": sender.key, "schema": sender.config, "extra_params": {"seed": 7}, "tasks": []}
    body = event if path == "/webhook" else told
    headers = {"Content-Type": kind} if kind else {}
    answer = sender.client.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code == 415 and "application/json" in answer.json()["detail"]
    after = sender.client.get("/api/projects/4").json()
    assert {key: after[key] for key in ("paused", "title", "settings")} == {
        key: before[key] for key in ("paused", "title", "settings")
    }
    assert sender.client.post(path, json=body).status_code == 200


def test_no_other_site_may_ask_by_script(client):
    """What is JSON, a browser announces first (CORS); that is not answered with leave."""
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in ROUTES:
        answer = client.options(address(path), headers={**asked, "Access-Control-Request-Headers": "content-type"})
        assert answer.status_code == 405, (method, path)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/health", "/api/projects", "/api/projects/77", "/pages/api.js", "/nowhere"])
def test_browsers_are_told_to_run_nothing_else(client, path):
    answer = client.get(path, headers={"Accept": "text/html"})
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_texts_are_kept_by_no_cache(sender):
    sender.setup()
    for path in (
        "/api/projects",
        "/api/projects/4",
        "/api/projects/4/queue",
        "/api/projects/77",
        "/metrics",
        "/versions",
    ):
        assert sender.client.get(path).headers["cache-control"] == "no-store"
    assert sender.predict(sender.task(1)).headers["cache-control"] == "no-store"
    assert sender.client.get("/pages/api.js").headers["cache-control"] == "no-cache"  # no texts: asked for again
