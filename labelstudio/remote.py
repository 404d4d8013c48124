"""Texts that tasks name by an address (`valueType="url"`): which are fetched, with which token, and how they are read.

The editor fetches them in the annotator's browser. So does this, from Label Studio itself and from the hosts that the
settings allow, and reads the bytes as the editor does: places count in the same characters.
"""

from __future__ import annotations

import json
import logging
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from socket import getaddrinfo
from typing import Any, Protocol

import httpx
from pydantic import SecretStr

from labelstudio.authentication import Token
from labelstudio.bounded import WHOLE, Bounded, NotTaken, Resolve
from labelstudio.errors import HOW_TO_GET_A_TOKEN, LabelStudioError
from labelstudio.fields import BadTask, read_text
from labelstudio.schema import Schema

log = logging.getLogger("active_tagger")

LONGEST = 2_000
"""Characters of an address."""
REDIRECTS = 3
STORAGES = ("s3://", "gs://", "azure-blob://")
"""Label Studio itself fetches what lies there."""
FILES = re.compile(r"/(data/(upload|local-files)/|storage-data/uploaded/|(tasks|projects)/\d+/(resolve|presign)/)")
"""Paths at which Label Studio serves files. Nothing else of it is fetched: at others it tells tokens."""
ENTRY = re.compile(r"(?:https?://)?(\[[\da-fA-F:.]+\]|[^\s:/@\[\]?#]+)(?::(\d{1,5}))?/?")
"""One of TEXT_HOSTS: a host, perhaps with a port."""
OTHER_MEDIA = ("image/", "audio/", "video/", "font/", "application/pdf", "application/zip")
PATIENCE = 3
"""Failures of a host in a row, after which it is left alone for a while."""
FIRST_REST, LONGEST_REST = 30.0, 600.0
"""Seconds for which it is left alone: they double with each further failure."""


class NoText(ValueError):
    """There is no text at this address; the message says why and what to do."""


class NotAsked(OSError):
    """Nothing was asked, by the rules or because the host has failed too often just now, or in vain: the host fails
    altogether. Says nothing about the address."""


def address_of(schema: Schema, data: dict[str, Any]) -> str:
    """The address in a task's data. Raises BadTask if there is none."""
    found = read_text(replace(schema, object_type="Text", encoding="none"), data).strip()
    if 0 < len(found) <= LONGEST and found.isprintable():
        return found
    raise BadTask(
        f'The task\'s data field {schema.value!r} holds no address, where the label config says valueType="url": '
        "import the task with one, or take valueType out of the label config if this is the text itself."
    )


def addresses_in(schema: Schema, data: Iterable[dict[str, Any]]) -> list[str]:
    """The addresses that tasks hold; none where the label config says that the text itself stands there."""
    found: list[str] = []
    for fields in data if schema.remote else ():
        with suppress(BadTask):
            found.append(address_of(schema, fields))
    return found


def in_place(
    schema: Schema, data: dict[str, Any], texts: Mapping[str, str], problems: Mapping[str, str]
) -> dict[str, Any]:
    """The task's data as `document` reads it: with what was fetched, by address, in place of the address.

    Raises BadTask, with the reason, where nothing was.
    """
    if not schema.remote:
        return data
    address = address_of(schema, data)
    if address in texts:
        return _with_text(schema, data, texts[address])
    raise BadTask(f"The text at the task's address is missing: {problems.get(address, 'it has not been fetched yet')}.")


def _with_text(schema: Schema, data: dict[str, Any], text: str) -> dict[str, Any]:
    value: Any = text
    if schema.object_type == "Paragraphs":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadTask(f"What lies at the task's address is no JSON, as <Paragraphs> needs it: {error}") from None
    return {**data, schema.value: value}


@dataclass
class _Trouble:
    """Of one host."""

    failures: int = 0
    rests_until: float = 0.0

    def failed(self) -> None:
        if time.monotonic() < self.rests_until:  # asked together with others, which told already
            return
        self.failures += 1
        if (more := self.failures - PATIENCE) >= 0:
            self.rests_until = time.monotonic() + min(LONGEST_REST, FIRST_REST * 2 ** min(more, 10))


class Library:
    """Fetches texts for one project, for several threads at once; hosts that fail are left alone for a while."""

    def __init__(
        self,
        own: str | None,
        token: str | None,
        known_as: str | None,
        hosts: Sequence[str],
        project: int,
        resolve: Resolve = getaddrinfo,
    ) -> None:
        """`own` is Label Studio's address, the only one that `token` is sent to; `known_as` what Label Studio calls
        itself, where browsers reach it by another; `hosts` the other ones that are allowed; `project` its number."""
        self._own = _address(own)
        self._known_as = _origin(known_as)
        self._token = Token(token, str(self._own)) if token and self._own else None
        self._hosts = frozenset(filter(None, map(_allowed, hosts)))
        self._project = project
        self._trouble: dict[str, _Trouble] = {}
        self._client = httpx.Client(
            transport=Bounded(self._may_be_inside, resolve),
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"Accept-Encoding": "identity"},
        )

    def load(self, address: str) -> str:
        """The text at an address as it stands in a task.

        Raises NoText, or NotAsked.
        """
        url = self._checked(self._url(address))
        trouble = self._trouble.setdefault(url.netloc.decode(), _Trouble())
        if time.monotonic() < trouble.rests_until:
            raise NotAsked(f"{url.host} has failed {trouble.failures} times; it is asked again later")
        try:
            response = self._get(url)
        except (NotAsked, httpx.TimeoutException) as error:
            trouble.failed()
            if isinstance(error, NotAsked):
                raise
            raise NoText(f"{_shown(url)}: no whole answer within {WHOLE:.0f} s") from None
        trouble.failures = 0
        return decoded(response.content, response.headers.get("content-type", ""))

    # -- what may be asked ----------------------------------------------------------------------------------

    def _url(self, address: str) -> httpx.URL:
        """An address in task data, as the editor understands it."""
        if address.startswith(STORAGES) and self._own:
            named = urlsafe_b64encode(address.encode()).decode()
            return httpx.URL(f"{self._own}/projects/{self._project}/resolve/", params={"fileuri": named})
        try:
            url = httpx.URL(address)
            if url.is_relative_url and address.startswith("/") and self._own:
                url = self._own.join(address)
            if self._own and self._known_as and _origin(url) == self._known_as:
                url = url.copy_with(scheme=self._own.scheme, host=self._own.host, port=self._own.port)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise NotAsked(f"{address!r:.100} is no address: {error}") from None
        if url.is_relative_url:
            remedy = "set LABEL_STUDIO_URL" if address.startswith("/") else "begin it with http://, https:// or /"
            raise NotAsked(f"{address!r:.100} does not say on which host it is; {remedy}")
        return url

    def _checked(self, url: httpx.URL) -> httpx.URL:
        if url.scheme not in ("http", "https") or not url.host:
            raise NotAsked(f"{_shown(url)} is no http:// or https:// address")
        if url.userinfo:
            raise NotAsked(f"{_shown(url)} holds a user name or password, which are not sent")
        if self._is_own(url):
            base = self._own.path.rstrip("/") if self._own else ""
            if ".." in url.path or "\\" in url.path or not FILES.match(url.path.removeprefix(base)):
                raise NotAsked(f"{_shown(url)} is no file of Label Studio")
        elif not {(_name(url), url.port), (_name(url), _port(url))} & self._hosts:
            port = f":{url.port}" if url.port else ""
            raise NotAsked(f"its host is not allowed; if it is meant, add {url.host}{port} to TEXT_HOSTS")
        return url

    def _is_own(self, url: httpx.URL) -> bool:
        return self._own is not None and _origin(url) == _origin(self._own)

    def _may_be_inside(self, host: str, port: int) -> bool:
        """Whether somebody has named this very place: Label Studio's own, one with its port, or an IP address."""
        return (host, port) in self._hosts or _is_ip(host) or (_origin(self._own) or ())[1:] == (host, port)

    # -- asking ---------------------------------------------------------------------------------------------

    def _get(self, url: httpx.URL) -> httpx.Response:
        deadline = time.monotonic() + WHOLE
        for _ in range(1 + REDIRECTS):
            auth = self._token if self._is_own(url) else None
            try:
                response = self._client.get(url, auth=auth, extensions={"deadline": deadline})
            except NotTaken as error:
                raise NoText(f"{_shown(url)} is not taken: {error}") from None
            except LabelStudioError as error:
                raise NotAsked(str(error)) from None
            except httpx.TimeoutException:
                raise
            except httpx.HTTPError as error:
                raise NotAsked(f"{_shown(url)}: {error or type(error).__name__}") from None
            if not response.has_redirect_location:
                return self._good(url, response)
            try:
                following = url.join(response.headers["location"])
            except (httpx.InvalidURL, UnicodeError):
                raise NoText(f"{_shown(url)} redirects to what is no address") from None
            if self._is_own(url) and following.path.rstrip("/").endswith("/user/login"):
                raise NotAsked(f"Label Studio asks for a login before it gives {_shown(url)}: {HOW_TO_GET_A_TOKEN}")
            try:
                url = self._checked(following)
            except NotAsked as error:
                raise NoText(f"{_shown(url)} redirects to {_shown(following)}: {error}") from None
        raise NoText(f"{_shown(url)} redirects more than {REDIRECTS} times")

    def _good(self, url: httpx.URL, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        told = f"{_shown(url)} is answered with {response.status_code}"
        if self._is_own(url) and response.status_code in (401, 403):
            raise NotAsked(f"{told}: Label Studio does not accept the token for files; {HOW_TO_GET_A_TOKEN}")
        raise (NotAsked if response.is_server_error or response.status_code == 429 else NoText)(told)


class Ways(Protocol):
    """What the settings say of Label Studio and of other hosts."""

    @property
    def label_studio_url(self) -> str | None: ...
    @property
    def label_studio_api_key(self) -> SecretStr | None: ...
    @property
    def text_hosts(self) -> list[str]: ...


def library(settings: Ways, connection: Mapping[str, Any], project: int) -> Library:
    """The library of Label Studio's project of this number, by the settings, and by what Label Studio told when it
    introduced the project: the same for all threads of a process, so that they know of each other's failures.

    Raises LabelStudioError for a token that cannot be one.
    """
    key = settings.label_studio_api_key
    token = key.get_secret_value() if key else connection.get("access_token")
    return _library(settings.label_studio_url, token, connection.get("hostname"), tuple(settings.text_hosts), project)


_library = lru_cache(maxsize=64)(Library)


def decoded(raw: bytes, content_type: str) -> str:
    """Bytes as the editor reads them: always as UTF-8, without a byte-order mark, whatever their header says.

    Other bytes are read by the header's charset where the editor, which then shows a mark in place of each character
    that it cannot read, still counts as many of them. Raises NoText for all others, and for what is no text.
    """
    media, _, parameters = content_type.lower().partition(";")
    if media.strip().startswith(OTHER_MEDIA) or b"\0" in raw:
        raise NoText(f"it is no text ({media.strip() or 'with zero bytes in it'})")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        charset = re.search(r"charset=[\"']?([\w.:-]+)", parameters)
    try:
        text = raw.decode(charset[1]) if charset else ""
    except (LookupError, ValueError):
        text = ""
    if not charset or len(raw) != len(text) or len(raw) != len(raw.decode("utf-8", "replace")):
        raise NoText("it is not in UTF-8, which is how Label Studio's editor reads it; store the file in UTF-8")
    return text


def _address(own: str | None) -> httpx.URL | None:
    """Label Studio's, as it is set."""
    with suppress(httpx.InvalidURL):
        url = httpx.URL((own or "").strip().rstrip("/"))
        if url.host and url.scheme in ("http", "https"):
            return url.copy_with(username=None, password=None)
    return None


def _origin(url: httpx.URL | str | None) -> tuple[str, str, int] | None:
    """Scheme, host and port, the port always written out."""
    try:
        url = httpx.URL(url or "")
    except httpx.InvalidURL:
        return None
    return (url.scheme, _name(url), _port(url)) if url.host else None


def _port(url: httpx.URL) -> int:
    return url.port or {"https": 443}.get(url.scheme, 80)


def _name(url: httpx.URL) -> str:
    """The host as it is looked up: lower case, and ASCII."""
    return url.raw_host.decode().lower().rstrip(".")


def _allowed(entry: str) -> tuple[str, int | None] | None:
    """An entry of TEXT_HOSTS as host and port; None, with a line in the log, if it is none."""
    bare = entry.strip()
    found = ENTRY.fullmatch(f"[{bare}]" if _is_ip(bare) and ":" in bare else bare)
    try:
        url = httpx.URL(f"http://{found[1]}" if found else "")
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if found is None or not url.host:
        log.warning("TEXT_HOSTS: %r is no host; write them as in texts.example.com or texts.example.com:8000", entry)
        return None
    return _name(url), int(found[2]) if found[2] else None


def _is_ip(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def _shown(url: httpx.URL) -> str:
    """An address for people: what stands behind "?" may be a signature."""
    return str(url.copy_with(query=None, fragment=None, username=None, password=None))[:200]
