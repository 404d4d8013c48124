"""How requests carry a token, of either kind that Label Studio gives out."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from labelstudio.errors import HOW_TO_GET_A_TOKEN, Unauthorized, Unreachable, own_words


class Token(httpx.Auth):
    """A legacy token is sent as it is; a personal access token (a JWT) buys access tokens of five minutes."""

    requires_response_body = True

    def __init__(self, api_key: str, url: str) -> None:
        self._api_key = api_key.strip()
        if not self._api_key:
            raise Unauthorized(f"LABEL_STUDIO_API_KEY is empty: {HOW_TO_GET_A_TOKEN}")
        if not self._api_key.isascii() or not self._api_key.isprintable() or " " in self._api_key:
            raise Unauthorized(f"LABEL_STUDIO_API_KEY holds characters that no token has: {HOW_TO_GET_A_TOKEN}")
        self._refresh_url = f"{url}/api/token/refresh/"
        self._personal = self._api_key.count(".") == 2
        self._access = ""

    def hide(self, text: str) -> str:
        """`text` without the token, should a server or proxy have echoed it."""
        for secret in filter(None, (self._api_key, self._access)):
            text = text.replace(secret, "…")
        return text

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not self._personal:
            request.headers["Authorization"] = f"Token {self._api_key}"
            yield request
            return
        if self._access:
            request.headers["Authorization"] = f"Bearer {self._access}"
            response = yield request
            if response.status_code != 401:
                return
        refreshed = yield httpx.Request("POST", self._refresh_url, json={"refresh": self._api_key})
        if refreshed.status_code == 401:
            raise Unauthorized(
                f"LABEL_STUDIO_API_KEY: the personal access token is wrong, expired or revoked "
                f"({self.hide(own_words(refreshed))}); {HOW_TO_GET_A_TOKEN}"
            )
        try:
            self._access = refreshed.raise_for_status().json()["access"]
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
            raise Unreachable(
                f"Label Studio, POST {self._refresh_url}: {refreshed.status_code} and no access token; "
                "is LABEL_STUDIO_URL the final address of a Label Studio?"
            ) from None
        request.headers["Authorization"] = f"Bearer {self._access}"
        yield request
