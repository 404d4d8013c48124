"""A real PostgreSQL for tests, where its programs and a driver are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest


class PostgreSQL:
    """One server with its data in a folder of its own, by a local socket or at an address too."""

    def __init__(self, address: str = "", port: int = 5432) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="active-tagger-", dir="/tmp"))  # a socket's path must be short
        self.address, self.port = address, port
        self._user = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
            self._user = {"user": "postgres", "group": "postgres"}
        self._made = count(1)
        self._run("initdb", "--username=tester", "--auth=trust", "--no-sync", "-D", "data")
        with (self.folder / "data/pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        self.start()

    def _run(self, *words: str) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, timeout=120, **self._user)

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses={self.address} -c port={self.port} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        """At once, as if it were killed; what was committed is there when it starts again."""
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def url(self, database: str = "postgres") -> str:
        """By the address if there is one, else by the socket."""
        if self.address:
            return f"postgresql+psycopg://tester@{self.address}:{self.port}/{database}"
        return f"postgresql+psycopg://tester@/{database}?host={self.folder}&port={self.port}"

    def new_database(self) -> str:
        """The address of an empty one."""
        name = f"made{next(self._made)}"
        self._run("createdb", "-h", str(self.folder), "-p", str(self.port), "-U", "tester", name)
        return self.url(name)


@contextmanager
def running(address: str = "", port: int = 5432) -> Iterator[PostgreSQL]:
    """A server until the end; skips the test where there is none to be had."""
    missing = [name for name in ("initdb", "pg_ctl", "createdb") if shutil.which(name) is None]
    if missing or find_spec("psycopg") is None:
        pytest.skip(f"PostgreSQL is not installed: {', '.join(missing) or 'psycopg'} is missing")
    server = PostgreSQL(address, port)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)
