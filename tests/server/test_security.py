import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from pydantic import SecretStr

from server.app import app
from tests.server.conftest import Sender

OPEN = {("GET", "/"), ("GET", "/health"), ("POST", "/webhook"), ("GET", "/status")}
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


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route not in OPEN])
def test_every_route_asks_for_the_password(closed, method, path):
    for login in (None, ("me", "wrong"), ("you", "pass:word")):
        refused = closed.request(method, address(path), json={}, auth=login)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Basic")
    if path != "/api/events":  # which does not end
        assert closed.request(method, address(path), json={}, auth=LOGIN).status_code != 401


def test_what_label_studio_asks_without_a_password_is_open(closed):
    assert closed.get("/health").status_code == 200
    assert closed.get("/", headers={"Accept": "*/*"}).status_code == 200
    assert Sender(closed).webhook("START_TRAINING").status_code == 200


def test_the_page_for_people_is_not(closed):
    assert closed.get("/", headers={"Accept": "text/html"}).status_code == 401
    assert closed.get("/", headers={"Accept": "text/html"}, auth=LOGIN).status_code == 200


CHANGING = [route for route in ROUTES if route[0] == "POST" and route[1].startswith("/api")]


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


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_bodies_that_a_form_can_send_are_refused(sender, workspace, kind):
    sender.setup()
    told = {"content": b'{"paused": true}', "headers": {"Content-Type": kind}}
    assert sender.client.post("/api/projects/4/pause", **told).status_code == 415
    assert not sender.client.get("/api/projects/4").json()["paused"]


@pytest.mark.parametrize("path", ["/", "/health", "/api/projects", "/api/projects/77", "/pages/api.js", "/nowhere"])
def test_browsers_are_told_to_run_nothing_else(client, path):
    answer = client.get(path, headers={"Accept": "text/html"})
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
