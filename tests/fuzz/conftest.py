import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

import model
from learning.database import Project
from learning.settings import Settings
from learning.workspace import Workspace
from tests.server.conftest import Sender
from tests.server.test_app import annotate_and_train


@pytest.fixture(scope="module")
def sender(tmp_path_factory):
    """The real application with a connected project that has tasks, annotations, a model and a queue."""
    folder = tmp_path_factory.mktemp("fuzzed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = Workspace(
            Settings(data_dir=folder / "data", tagger="crf", strategy="mnlp", round_size=10, cold_start="random")
        )
        patch.setattr(model, "open_workspace", lambda: made)
        from server.app import app

        with TestClient(app, raise_server_exceptions=False) as client:
            sender = Sender(client)
            annotate_and_train(sender, made)
            with made.db.write() as session:  # nothing here asks a Label Studio
                session.scalars(select(Project)).one().connection = {}
            sender.workspace = made
            yield sender
