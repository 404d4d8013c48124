"""Texts by address: what is fetched, from where, with which token, and how it is read. The server is a real one."""

from __future__ import annotations

import socket
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import httpcore
import pytest

from labelstudio import bounded, remote
from labelstudio.bounded import is_public
from labelstudio.documents import document
from labelstudio.fields import BadTask
from labelstudio.remote import Library, NotAsked, NoText, address_of, addresses_in, decoded, in_place
from labelstudio.schema import Schema, read_schema
from tests.labelstudio.configs import DIALOGUE, PAGE, TEXT
from tests.labelstudio.web import Server

TOKEN = "c0ffee" * 6 + "beef"


@pytest.fixture
def studio() -> Iterator[Server]:
    with Server() as server:
        yield server
        server.shutdown()


@pytest.fixture
def other() -> Iterator[Server]:
    with Server() as server:
        yield server
        server.shutdown()


def library(studio: Server, *hosts: str, known_as: str | None = None, resolve=socket.getaddrinfo) -> Library:
    return Library(studio.url, TOKEN, known_as, hosts, 7, resolve)


def resolving(**addresses: list[str]):
    """A name server that knows these names ("_" for "."), each answer used once but the last."""
    calls: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple]:
        calls.append(host)
        known = ["127.0.0.1"] if host == "127.0.0.1" else addresses.get(host.replace(".", "_"))
        if known is None:
            raise socket.gaierror(f"no {host}")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known.pop(0) if len(known) > 1 else known[0], port))]

    resolve.calls = calls
    return resolve


def remote_schema(config: str = TEXT, value: str = "$text") -> Schema:
    return read_schema(config.replace(f'value="{value}"', f'value="{value}" valueType="url"'))


# -- Label Studio's own files ---------------------------------------------------------------------------------


def test_an_uploaded_file_is_fetched_with_the_token(studio: Server) -> None:
    studio.pages["/data/upload/1/a b.txt"] = (200, {"Content-Type": "text/plain"}, "Åse\r\nbor 😀".encode())
    studio.pages["/data/upload/1/a%20b.txt"] = studio.pages["/data/upload/1/a b.txt"]
    assert library(studio).load("/data/upload/1/a b.txt") == "Åse\r\nbor 😀"
    assert studio.asked == [("/data/upload/1/a%20b.txt", f"127.0.0.1:{studio.port}", f"Token {TOKEN}")]


def test_the_address_that_browsers_use_means_label_studio_too(studio: Server) -> None:
    studio.pages["/data/local-files/"] = (200, {}, b"text")
    known_as = "https://label.example.com"
    assert library(studio, known_as=known_as).load(f"{known_as}/data/local-files/?d=a/b.txt") == "text"
    assert studio.asked[0][0] == "/data/local-files/?d=a/b.txt"
    with pytest.raises(NotAsked, match="TEXT_HOSTS"):
        library(studio, known_as=known_as).load("https://label.example.org/data/local-files/?d=a")


def test_cloud_storage_is_asked_for_through_label_studio(studio: Server) -> None:
    studio.pages["/projects/7/resolve/"] = (200, {}, b"text")
    assert library(studio).load("s3://bucket/a b.txt") == "text"
    asked = parse_qs(urlsplit(studio.asked[0][0]).query)["fileuri"]
    assert urlsafe_b64decode(asked[0]).decode() == "s3://bucket/a b.txt"


@pytest.mark.parametrize(
    "path",
    [
        "/api/current-user/token",
        "/",
        "/data/upload/../../api/token/",
        "/data/upload/%2e%2e/%2e%2e/api/token/",
        "/data/upload/..%2f../api/token/",
        "/data/upload/..\\..\\api/token/",
        "/data/avatars/me.png",
        "/projects/1/",
    ],
)
def test_nothing_but_files_is_asked_of_label_studio(studio: Server, path: str) -> None:
    """Elsewhere it answers with tokens, which would stand on our pages."""
    with pytest.raises(NotAsked):
        library(studio).load(path)
    assert studio.asked == []


def test_a_refused_token_is_no_text(studio: Server) -> None:
    studio.pages["/data/upload/1/a.txt"] = (401, {}, b'{"detail": "Invalid token"}')
    with pytest.raises(NotAsked, match="LABEL_STUDIO_API_KEY"):
        library(studio).load("/data/upload/1/a.txt")
    studio.pages["/data/upload/1/a.txt"] = (302, {"Location": "/user/login/?next=/data/upload/1/a.txt"}, b"")
    studio.pages["/user/login/"] = (200, {"Content-Type": "text/html"}, b"<form>")
    with pytest.raises(NotAsked, match="asks for a login"):
        library(studio).load("/data/upload/1/a.txt")


# -- other hosts ----------------------------------------------------------------------------------------------


def test_only_allowed_hosts_are_asked_and_never_with_the_token(studio: Server, other: Server) -> None:
    other.pages["/a.txt"] = (200, {}, b"text")
    with pytest.raises(NotAsked, match=rf"add 127.0.0.1:{other.port} to TEXT_HOSTS"):
        library(studio).load(f"{other.url}/a.txt")
    with pytest.raises(NotAsked, match="TEXT_HOSTS"):  # the same machine, another port
        library(studio, "127.0.0.1").load(f"{other.url}/a.txt")
    assert other.asked == []
    assert library(studio, f"127.0.0.1:{other.port}").load(f"{other.url}/a.txt") == "text"
    assert other.asked == [("/a.txt", f"127.0.0.1:{other.port}", None)]


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://texts.example.com/a",
        "gopher://texts.example.com/",
        "texts.example.com/a.txt",
        "http://me:secret@texts.example.com/a.txt",
        "http://texts.example.com:8000/a.txt",
        "http://texts.example.com.evil.test/",
        "http://evil.test#@texts.example.com/",
        "//evil.test/data/upload/1/a.txt",
        "http://[::1/",
        "http:///data/upload/1/a.txt",
        "data:text/plain,hello",
        "just the text itself",
    ],
)
def test_what_is_no_allowed_address_is_not_asked_for(studio: Server, address: str) -> None:
    resolve = resolving()
    with pytest.raises(NotAsked) as caught:
        library(studio, "texts.example.com", resolve=resolve).load(address)
    assert resolve.calls == [] and studio.asked == []
    assert "secret" not in str(caught.value)


def test_the_token_does_not_follow_a_redirect(studio: Server, other: Server) -> None:
    target = f"http://texts.test:{other.port}/signed?key=1"
    studio.pages["/projects/7/resolve/"] = (303, {"Location": target}, b"")
    other.pages["/signed"] = (200, {}, b"text")
    resolve = resolving(texts_test=["127.0.0.1"])
    with pytest.raises(NoText, match=f"texts.test:{other.port} to TEXT_HOSTS") as caught:
        library(studio).load("s3://bucket/a.txt")
    assert "key=1" not in str(caught.value) and other.asked == []
    assert library(studio, f"texts.test:{other.port}", resolve=resolve).load("s3://bucket/a.txt") == "text"
    assert other.asked == [("/signed?key=1", f"texts.test:{other.port}", None)]
    assert [token for *_, token in studio.asked] == [f"Token {TOKEN}"] * 2


def test_a_redirect_to_label_studio_reaches_files_only(studio: Server, other: Server) -> None:
    other.pages["/a.txt"] = (302, {"Location": f"{studio.url}/api/current-user/token"}, b"")
    with pytest.raises(NoText, match="no file of Label Studio"):
        library(studio, f"127.0.0.1:{other.port}").load(f"{other.url}/a.txt")
    assert studio.asked == []


def test_redirects_end(studio: Server) -> None:
    studio.pages["/data/upload/1/a.txt"] = (302, {"Location": "/data/upload/1/a.txt"}, b"")
    with pytest.raises(NoText, match="more than 3 times"):
        library(studio).load("/data/upload/1/a.txt")
    assert len(studio.asked) == 4


def test_an_allowed_name_may_not_lead_inside(studio: Server) -> None:
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "100.64.0.1", "0.0.0.0"):
        with pytest.raises(NoText, match="not public"):
            library(studio, "texts.test", resolve=resolving(texts_test=[address])).load("http://texts.test/a.txt")
    assert studio.asked == []


def test_a_name_that_changes_its_mind_is_connected_to_as_it_was_checked(studio: Server, monkeypatch) -> None:
    """DNS rebinding: public when it is checked, this machine a moment later."""
    connected = []

    def connect(self, host, port, *others):
        connected.append(host)
        raise httpcore.ConnectError("unreachable")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    resolve = resolving(texts_test=["93.184.216.34", "127.0.0.1"])
    with pytest.raises(NotAsked, match="unreachable"):
        library(studio, "texts.test", resolve=resolve).load("http://texts.test/a.txt")
    assert connected == ["93.184.216.34"] and resolve.calls == ["texts.test"]


def test_an_answer_with_one_inner_address_is_refused_whole(studio: Server) -> None:
    def resolve(host, port, **_):
        return [(0, 0, 0, "", (address, port)) for address in ("93.184.216.34", "192.168.0.1")]

    with pytest.raises(NoText, match=r"192\.168\.0\.1.*texts\.test:80"):
        library(studio, "texts.test", resolve=resolve).load("http://texts.test/a.txt")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("172.16.0.1", False),
        ("224.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:93.184.216.34", True),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("entry", ["texts.test", "http://texts.test/", "TEXTS.test ", "texts.test:80"])
def test_hosts_are_understood_as_people_write_them(studio: Server, entry: str) -> None:
    resolve = resolving(Texts_test=["10.0.0.1"], texts_test=["10.0.0.1"])
    if entry.endswith(":80"):
        assert library(studio, entry)._may_be_inside("texts.test", 80)
        return
    with pytest.raises(NoText, match="not public"):
        library(studio, entry, resolve=resolve).load("http://Texts.test/a.txt")


@pytest.mark.parametrize("entry", ["", "a b", "texts.test/path", "http://", "*"])
def test_what_is_no_host_allows_nothing(studio: Server, entry: str, caplog) -> None:
    with pytest.raises(NotAsked, match="not allowed"):
        library(studio, entry).load("http://texts.test/path")
    assert entry == "*" or "is no host" in caplog.text


# -- bounds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_answer_is_cut_off(studio: Server, announced: bool) -> None:
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(10**10))
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 1_000_000)
            sent.append(1)

    studio.pages["/data/upload/1/a.txt"] = endless
    with pytest.raises(NoText, match="more than 10 MB"):
        library(studio).load("/data/upload/1/a.txt")
    assert len(sent) < 40


def test_the_largest_that_is_taken(studio: Server) -> None:
    studio.pages["/data/upload/1/a.txt"] = (200, {}, b"x" * bounded.LARGEST)
    assert len(library(studio).load("/data/upload/1/a.txt")) == bounded.LARGEST


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_dripping_answer_ends_in_time(studio: Server, monkeypatch, where: str) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        if where == "body":
            handler.send_response(200)
            handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.05)

    studio.pages["/data/upload/1/a.txt"] = drip
    monkeypatch.setattr(remote, "WHOLE", 0.5)
    began = time.monotonic()
    with pytest.raises(NoText, match="no whole answer within"):
        library(studio).load("/data/upload/1/a.txt")
    assert 0.4 < time.monotonic() - began < 10


def test_a_compressed_bomb_is_not_opened(studio: Server) -> None:
    studio.pages["/data/upload/1/a.txt"] = (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")
    with pytest.raises(NoText, match="compressed"):
        library(studio).load("/data/upload/1/a.txt")


def test_a_host_that_fails_is_left_alone_for_a_while(studio: Server, monkeypatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(remote.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(bounded.time, "monotonic", lambda: clock[0])
    studio.pages["/data/upload/1/a.txt"] = (500, {}, b"")
    shelf = library(studio)

    def asked() -> int:
        before = len(studio.asked)
        with pytest.raises(NotAsked):
            shelf.load("/data/upload/1/a.txt")
        return len(studio.asked) - before

    assert [asked() for _ in range(6)] == [1, 1, 1, 0, 0, 0]
    clock[0] += remote.FIRST_REST + 1
    assert [asked() for _ in range(2)] == [1, 0]
    clock[0] += remote.FIRST_REST + 1  # the second rest is longer
    assert asked() == 0
    clock[0] += remote.FIRST_REST
    studio.pages["/data/upload/1/a.txt"] = (200, {}, b"text")
    assert shelf.load("/data/upload/1/a.txt") == "text"
    studio.pages["/data/upload/1/a.txt"] = (500, {}, b"")
    assert [asked() for _ in range(4)] == [1, 1, 1, 0]


def test_a_missing_file_says_nothing_about_its_host(studio: Server) -> None:
    shelf = library(studio)
    for number in range(10):
        with pytest.raises(NoText, match="answered with 404"):
            shelf.load(f"/data/upload/1/{number}.txt")
    assert len(studio.asked) == 10


# -- reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "content_type", "text"),
    [
        ("Åse 😀\r\n\tx".encode(), "text/plain", "Åse 😀\r\n\tx"),
        ("Åse".encode(), "text/plain; charset=iso-8859-1", "Åse"),  # as the editor: UTF-8, whatever is said
        (b"\xef\xbb\xbf\xef\xbb\xbfx", "", "\ufeffx"),
        ("Åse på øya".encode("latin-1"), 'text/plain; charset="ISO-8859-1"', "Åse på øya"),
        ("“Åse”".encode("cp1252"), "text/plain;charset=windows-1252", "“Åse”"),
        (b"", "application/octet-stream", ""),
        (b"x", "application/octet-stream", "x"),
    ],
)
def test_bytes_are_read_as_the_editor_reads_them(raw: bytes, content_type: str, text: str) -> None:
    assert decoded(raw, content_type) == text
    assert len(text) == len(raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))  # as many places


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        ("Åse".encode("latin-1"), "text/plain"),
        ("Åse".encode("latin-1"), "text/plain; charset=klingon"),
        ("Åse".encode("latin-1"), "text/plain; charset=hex"),
        ("Åse".encode("utf-16"), "text/plain; charset=utf-16"),
        ("東京に".encode("shift-jis"), "text/plain; charset=shift-jis"),  # other places than in the editor
        (b"\xf0\x9f\x98 \xe9", "text/plain; charset=latin-1"),
        (b"a\0b", "text/plain"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_what_is_no_text_is_refused(raw: bytes, content_type: str) -> None:
    with pytest.raises(NoText):
        decoded(raw, content_type)


# -- in a task ------------------------------------------------------------------------------------------------


def test_the_text_takes_the_place_of_its_address() -> None:
    schema = remote_schema(value="$text")
    data = {"text": " /data/upload/1/a.txt ", "other": 1}
    assert address_of(schema, data) == "/data/upload/1/a.txt"
    there = in_place(schema, data, {"/data/upload/1/a.txt": "Ada"}, {})
    assert there == {"text": "Ada", "other": 1} and document(schema, there).text == "Ada"
    with pytest.raises(BadTask, match="missing: answered with 404"):
        in_place(schema, data, {}, {"/data/upload/1/a.txt": "answered with 404"})
    with pytest.raises(BadTask, match="not been fetched yet"):
        in_place(schema, data, {}, {})


def test_a_text_that_stands_in_the_task_stays() -> None:
    schema, data = read_schema(TEXT), {"text": "http://texts.test/"}
    assert in_place(schema, data, {"http://texts.test/": "Ada"}, {}) is data
    assert addresses_in(schema, [data]) == [] and not schema.remote


def test_nested_fields_pages_and_utterances() -> None:
    nested = read_schema(TEXT.replace('"$text"', '"$a.b[0]" valueType="URL"'))
    data = {"a": {"b": ["/x"]}}
    assert document(nested, in_place(nested, data, {"/x": "Ada"}, {})).text == "Ada"
    page = remote_schema(PAGE, "$html")
    assert document(page, in_place(page, {"html": "/x"}, {"/x": "<p>Ada</p>"}, {})).text == "Ada"
    talk = remote_schema(DIALOGUE, "$dialogue")
    said = '[{"who": "A", "said": "Ada"}, {"said": "Bo"}]'
    assert document(talk, in_place(talk, {"dialogue": "/x"}, {"/x": said}, {})).text == "Ada\nBo"
    for broken in ("no JSON", "[" * 100_000):
        with pytest.raises(BadTask, match="no JSON"):
            in_place(talk, {"dialogue": "/x"}, {"/x": broken}, {})
    with pytest.raises(BadTask, match="needs a list"):
        document(talk, in_place(talk, {"dialogue": "/x"}, {"/x": "{}"}, {}))


@pytest.mark.parametrize("value", [None, "", "  ", ["/x"], {}, "Ada\nlives", "x" * 2_001, "/\ud800", "/a\0b"])
def test_what_is_no_address_is_a_problem_of_the_task(value: object) -> None:
    schema = remote_schema()
    with pytest.raises(BadTask):
        address_of(schema, {"text": value})
    assert addresses_in(schema, [{"text": value}, {"text": "/b"}, {}]) == ["/b"]


@pytest.mark.parametrize(
    ("attributes", "remote_too", "quoted"),
    [
        ("", False, True),
        ('valueType="text"', False, True),
        ('valueType="url"', True, False),
        ('valueType="url" saveTextResult="yes"', True, True),
        ('valueType="url" saveTextResult="no"', True, False),
        ('saveTextResult="no"', False, False),
    ],
)
def test_what_the_config_says(attributes: str, remote_too: bool, quoted: bool) -> None:
    schema = read_schema(TEXT.replace("<Text ", f"<Text {attributes} "))
    assert (schema.remote, schema.quoted) == (remote_too, quoted)


def test_utterances_are_quoted_unless_it_says_no() -> None:
    """The editor's default differs from that of <Text>."""
    assert remote_schema(DIALOGUE, "$dialogue").quoted
