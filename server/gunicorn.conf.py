"""Gunicorn's settings: `gunicorn -c server/gunicorn.conf.py server.app:app`."""

import os
import shutil
import socket
import time
from typing import Any

from learning.processes import end_with_parent
from learning.settings import Settings
from server.exposure import warnings
from server.logs import configuration
from server.worker import SHUTDOWN_SECONDS

_settings = Settings()
bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
worker_class = "server.worker.Worker"
timeout = 120  # without a sign of life from a process: one that starts on a busy machine imports for long
graceful_timeout = SHUTDOWN_SECONDS + 5  # the process gives up its requests first, and says so
backlog = 512  # connections that no process has taken yet
control_socket_disable = True  # it would be a file in the home folder, the same for every server of this user
logconfig_dict = configuration(_settings.log_level, _settings.log_format)

_of_all = _settings.data_dir.resolve() / "telemetry"
_figures = _of_all / socket.gethostname()  # machines may share the folder, and not know each other's processes
FORGOTTEN = 7 * 24 * 3600.0  # seconds since another machine's last figure
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_figures)  # before anybody imports prometheus_client


def on_starting(server: Any) -> None:
    """The workers' figures begin at nothing, in one folder: any of them answers for all."""
    for warning in warnings(_settings):
        server.log.warning(warning)
    _settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(_figures, ignore_errors=True)
    for folder in _of_all.glob("*/"):
        if time.time() - max((file.stat().st_mtime for file in folder.glob("*")), default=0.0) > FORGOTTEN:
            shutil.rmtree(folder, ignore_errors=True)
    _figures.mkdir(parents=True)


def post_fork(server: Any, worker: Any) -> None:
    """A worker whose master was killed would keep the port, and the next master could not have it."""
    end_with_parent()


def child_exit(server: Any, worker: Any) -> None:
    """What a worker has counted stays, in one file for all that have ended: their number does not matter then."""
    from prometheus_client.mmap_dict import MmapedDict

    for file in _figures.glob(f"*_{worker.pid}.db"):
        ended = MmapedDict(str(file.with_name(f"{file.name.partition('_')[0]}_ended.db")))
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
            ended.write_value(key, ended.read_value(key)[0] + value, 0.0)
        ended.close()
        file.unlink()
