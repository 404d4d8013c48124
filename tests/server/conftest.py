import pytest
from fastapi.testclient import TestClient

import model
from learning.settings import Settings
from learning.workspace import Workspace

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
BORN = "2026-01-01T00:00:00.500000Z"
KEY = "4.1767225600"
"""Label Studio's name of project 4, born at BORN."""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The one that the application opens, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    made = Workspace(
        Settings(data_dir=tmp_path / "data", tagger="crf", strategy="mnlp", round_size=10, cold_start="random")
    )
    monkeypatch.setattr(model, "open_workspace", lambda: made)
    return made


@pytest.fixture
def client(workspace):
    from server.app import app

    with TestClient(app, raise_server_exceptions=False) as connection:
        yield connection


class Sender:
    """Sends what Label Studio sends about one project, in its shapes."""

    def __init__(self, client: TestClient, id: int = 4, config: str = CONFIG) -> None:
        self.client, self.id, self.config = client, id, config
        self.key = KEY.replace("4.", f"{id}.", 1)

    def setup(self, extra_params=None):
        body = {
            "project": self.key,
            "schema": self.config,
            "hostname": "http://localhost:8080",
            "access_token": "lent-token",
            "extra_params": extra_params,
        }
        return self.client.post("/setup", json=body)

    def task(self, id: int, text: str = "Ada lives in Oslo 😀") -> dict:
        return {"id": id, "data": {"text": text}, "created_at": BORN, "updated_at": BORN, "project": self.id}

    def annotation(self, id: int, task: int, spans=((0, 3, "PER"),), **more) -> dict:
        result = [
            {
                "id": f"r{i}",
                "from_name": "label",
                "to_name": "text",
                "type": "labels",
                "value": {"start": start, "end": end, "text": "?", "labels": [label]},
            }
            for i, (start, end, label) in enumerate(spans)
        ]
        common = {"created_at": BORN, "updated_at": BORN, "was_cancelled": False, "ground_truth": False}
        return {"id": id, "task": task, "project": self.id, "completed_by": 1, "result": result, **common, **more}

    def webhook(self, action: str, **payload):
        project = {"id": self.id, "created_at": BORN, "label_config": self.config, "title": "t"}
        return self.client.post("/webhook", json={"action": action, "project": project, **payload})

    def predict(self, *tasks: dict, context=None):
        body = {
            "tasks": list(tasks),
            "project": self.key,
            "label_config": self.config,
            "params": {"login": None, "password": None, "context": context},
        }
        return self.client.post("/predict", json=body)


@pytest.fixture
def sender(client):
    return Sender(client)
