"""Gunicorn's settings: `gunicorn -c server/gunicorn.conf.py server.app:app`."""

import os
import shutil
from typing import Any

from learning.settings import Settings

_settings = Settings()
bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
worker_class = "uvicorn_worker.UvicornWorker"
timeout = 120  # Label Studio itself waits 100 s for predictions
graceful_timeout = 30
loglevel = "warning"

_figures = _settings.data_dir.resolve() / "telemetry"
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_figures)  # before anybody imports prometheus_client


def on_starting(server: Any) -> None:
    """The workers' figures begin at nothing, in one folder: any of them answers for all."""
    shutil.rmtree(_figures, ignore_errors=True)
    _figures.mkdir(parents=True)


def child_exit(server: Any, worker: Any) -> None:
    """What a worker has counted stays, in one file for all that have ended: their number does not matter then."""
    from prometheus_client.mmap_dict import MmapedDict

    for file in _figures.glob(f"*_{worker.pid}.db"):
        ended = MmapedDict(str(file.with_name(f"{file.name.partition('_')[0]}_ended.db")))
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
            ended.write_value(key, ended.read_value(key)[0] + value, 0.0)
        ended.close()
        file.unlink()
