import pytest

from learning.database import Project
from learning.settings import Settings
from server.links import project_link, task_link


@pytest.mark.parametrize(
    ("ours", "told", "link"),
    [
        (None, "http://localhost:8080", "http://localhost:8080/projects/4/data"),
        # In a container network only we know it by that name; people use what it says of itself.
        ("http://label-studio:8080", "http://localhost:8080", "http://localhost:8080/projects/4/data"),
        # It was never told its name.
        ("https://ls.example.org/", "http://localhost:8080", "https://ls.example.org/projects/4/data"),
        ("http://10.0.0.7:8080", "https://ls.example.org/sub/", "https://ls.example.org/sub/projects/4/data"),
        ("http://user:secret@ls.example.org", None, "http://ls.example.org/projects/4/data"),
        (None, "javascript:alert(1)", None),
        (None, "//evil", None),
        (None, "http://[", None),
        (None, "", None),
        (None, None, None),
    ],
)
def test_project_link(ours, told, link):
    project = Project(external_id=4, connection={"hostname": told, "access_token": "x"})
    assert project_link(Settings(label_studio_url=ours), project) == link


def test_task_link():
    assert task_link("http://x/projects/4/data", 7) == "http://x/projects/4/data?task=7"
    assert task_link(None, 7) is None
