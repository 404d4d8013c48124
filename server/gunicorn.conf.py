"""Gunicorn's settings: `gunicorn -c server/gunicorn.conf.py server.app:app`."""

from learning.settings import Settings

_settings = Settings()
bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
worker_class = "uvicorn_worker.UvicornWorker"
timeout = 120  # Label Studio itself waits 100 s for predictions
graceful_timeout = 30
loglevel = "warning"
