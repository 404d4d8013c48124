import json

import pytest
from sqlalchemy import select

from learning import rounds
from learning.database import Project, Round
from learning.intake import mark_due
from server.states import choices
from strategies import STRATEGIES
from taggers import TAGGERS
from tests.server.conftest import CONFIG, KEY, Sender
from tests.server.test_app import annotate_and_train, the_project, train

HOSTILE = '<script>alert(1)</script>"\u202e😀'


def get(sender, path="", status=200):
    answer = sender.client.get(f"/api/projects/4{path}")
    assert answer.status_code == status, answer.text
    return answer.json()


def in_db(workspace, **values):
    with workspace.db.write() as session:
        project = session.scalars(select(Project)).one()
        for name, value in values.items():
            setattr(project, name, value)


def test_no_projects(client):
    assert client.get("/api/projects").json() == {"projects": []}


def test_a_project_that_has_just_been_connected(sender):
    sender.setup()
    (told,) = sender.client.get("/api/projects").json()["projects"]
    assert (told["key"], told["id"], told["state"], told["due"]) == (KEY, 4, "waiting", "connected")
    assert (told["version"], told["tasks"], told["labelled"]) == ("untrained", 0, 0)
    for unknown in ("title", "error", "progress", "evaluation", "queue_left", "ordered_by", "ranked_by"):
        assert told[unknown] is None
    assert told["next_round"] == {"in": 10, "unit": "tasks"}
    detail = get(sender)
    assert {name: detail[name] for name in told} == told, "the summary is part of it"
    assert detail["curve"] == {"points": [], "fit": None, "saving": None}
    assert [row["labelled"] for row in detail["label_scores"]] == [0, 0]
    assert (detail["rounds"], detail["versions"], detail["advice"], detail["batch"]) == ([], [], None, None)


def test_the_title_is_label_studios(sender):
    sender.setup()
    sender.webhook("PROJECT_UPDATED")
    assert get(sender)["title"] == "t"


def test_after_a_round(sender, workspace):
    annotate_and_train(sender, workspace)
    detail = get(sender)
    version = detail["version"]
    assert (detail["state"], detail["tasks"], detail["labelled"], detail["queue_left"]) == ("idle", 60, 40, 20)
    assert (detail["tagger"], detail["strategy"]) == ("crf", "mnlp")
    assert (detail["ranked_by"], detail["ordered_by"]) == ("crf", "mnlp")
    assert detail["evaluation"]["f1"] > 0.8 and detail["evaluation"]["low"] <= detail["evaluation"]["f1"]
    (point,) = detail["curve"]["points"]
    assert point == {**detail["evaluation"], "round": 1, "version": version}
    (stored,) = detail["versions"]
    files = list(workspace.models.folder(the_project(workspace).id, version).rglob("*"))
    assert stored["bytes"] == sum(file.stat().st_size for file in files if file.is_file())
    assert (stored["version"], stored["current"], stored["stored"], stored["round"]) == (version, True, True, 1)
    assert (stored["settings"]["tagger"], stored["f1"]) == ("crf", point["f1"])
    assert detail["settings"]["round_size"] == 10 and "label_studio_api_key" not in detail["settings"]
    assert detail["rounds"][0]["state"] == "done" and "holdout_counts" not in detail["rounds"][0]["metrics"]
    assert "Go on labelling" in detail["advice"]["text"]
    assert "lent-token" not in json.dumps(detail)


def test_label_scores_count_what_was_scored_and_given(sender, workspace):
    sentences = annotate_and_train(sender, workspace)
    given = [span.label for s in sentences[:40] for span in s.spans or ()]
    for row in get(sender)["label_scores"]:
        assert row["labelled"] == given.count(row["label"])
        assert row["gold"] > 0 and row["recall"] * row["gold"] == pytest.approx(row["precision"] * row["predicted"])
    sender.webhook("ANNOTATIONS_DELETED", annotations=[{"id": int(s.id)} for s in sentences[:39]])
    assert [row["labelled"] for row in get(sender)["label_scores"]] == [
        sum(span.label == label for span in sentences[39].spans or ()) for label in ("PER", "LOC")
    ]


def test_states_in_turn(sender, workspace):
    sender.setup()
    state = lambda: get(sender)["state"]  # noqa: E731
    assert state() == "waiting"
    sender.webhook("TASKS_CREATED", tasks=[sender.task(i) for i in range(1, 4)])
    round_id = rounds.claim(workspace.db, the_project(workspace).id)
    assert state() == "training"
    assert get(sender)["progress"] == {
        **{"round": 1, "step": "start", "done": None, "of": None},
        **{"share": None, "seconds_left": None},
    }
    rounds.fail(workspace.db, round_id, "no such option", transient=False)
    assert (state(), get(sender)["error"]) == ("error", "no such option")
    in_db(workspace, paused=True)
    assert (state(), get(sender)["error"]) == ("paused", "no such option")
    in_db(workspace, paused=False, retry_at=None)
    with workspace.db.write() as session:
        mark_due(session.scalars(select(Project)).one(), "rank", "test")
    train(workspace)
    assert (state(), get(sender)["error"]) == ("cold start", None)
    annotate_and_train(sender, workspace)
    assert state() == "idle"
    new = sender.annotation(900, 60)
    sender.webhook("ANNOTATION_CREATED", annotation=new, task=sender.task(60, "It rains a lot"))
    assert (state(), get(sender)["new_annotations"], get(sender)["next_round"]["in"]) == ("collecting", 1, 9)
    with workspace.db.write() as session:
        session.scalars(select(Round).order_by(Round.id.desc())).first().state = "publishing"
    assert state() == "publishing"


def test_versions_that_are_gone_are_told_of(sender, workspace):
    annotate_and_train(sender, workspace)
    gone = get(sender)["version"]
    workspace.models.prune(the_project(workspace).id, [])
    (told,) = get(sender)["versions"]
    assert (told["version"], told["stored"], told["bytes"]) == (gone, False, None)
    assert sender.client.get(f"/api/projects/4/versions/{gone}/download").status_code == 422


def test_another_tagger_begins_another_curve(sender, workspace):
    annotate_and_train(sender, workspace)
    with workspace.db.write() as session:
        old = session.scalars(select(Round)).one()
        old.settings = {**old.settings, "tagger": "window"}
        mark_due(session.scalars(select(Project)).one(), "fit", "test")
    train(workspace)
    assert [point["round"] for point in get(sender)["curve"]["points"]] == [2]
    assert [version["tagger"] for version in get(sender)["versions"]] == ["crf", "window"]


def test_the_form_offers_what_the_settings_accept(workspace):
    told = choices(None)
    assert sorted(name for names in told["models"].values() for name in names) == sorted(TAGGERS)
    assert "transformer-classifier" in told["models"]["classifier"] and "crf" in told["models"]["tagger"]
    models = [("spans", "tagger", name) for name in ("crf", "window", "transformer")]
    models += [("choices", "classifier", name) for name in ("tfidf-classifier", "transformer-classifier")]
    for kind, setting, name in [*models, ("relations", "relation_classifier", "relation-classifier")]:
        for strategy in STRATEGIES:
            try:
                workspace.settings.for_project({setting: name, "strategy": strategy}).check_for([kind])
                fits = True
            except ValueError:
                fits = False
            assert (strategy in told["strategies"][name]) == fits, (name, strategy)
    assert set(choices("crf")["strategies"]["transformer"]) == set(told["strategies"]["crf"])


def test_hostile_names_come_through_as_data(client, workspace):
    config = CONFIG.replace(
        'value="PER"', 'value="&lt;script&gt;alert(1)&lt;/script&gt;&quot;\u202e😀" background="x:url()"'
    )
    sender = Sender(client, config=config)
    sender.setup()
    in_db(workspace, title=HOSTILE, notice=HOSTILE)
    answer = sender.client.get("/api/projects/4")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    told = answer.json()
    assert (told["title"], told["notice"]) == (HOSTILE, HOSTILE)
    assert told["labels"] == [
        {"kind": "spans", "value": HOSTILE, "colour": None},
        {"kind": "spans", "value": "LOC", "colour": None},
    ]


def test_a_label_config_that_cannot_be_used_any_more(sender, workspace):
    sender.setup()
    in_db(workspace, label_config="<View/>")
    assert (get(sender)["labels"], get(sender)["label_scores"]) == ([], [])


def test_settings_that_do_not_fit_any_more_are_told(sender, workspace):
    sender.setup()
    in_db(workspace, extra_params={"strategy": "badge"})
    assert "'badge' needs of the tagger" in get(sender)["notice"]
    in_db(workspace, extra_params={"strategy": "gone"})
    told = get(sender)
    assert "gone" in told["notice"] and told["strategy"] == "mnlp"


def test_suspects_have_links(sender, workspace):
    sender.setup()
    assert get(sender, "/suspects") == {"version": None, "checked": None, "items": [], "notes": []}
    span = {"start": 0, "end": 3, "label": HOSTILE}
    word = {"start": 0, "end": 3, "given": "O", "suggested": HOSTILE, "confidence": 0.9}
    item = {"task": 9, "text": "a\ud800b", "given": [], "suggested": [span], "words": [word]}
    in_db(workspace, suspects={"version": "v1", "checked": 40, "items": [item]})
    told = get(sender, "/suspects")
    assert (told["version"], told["checked"]) == ("v1", 40)
    link = "http://localhost:8080/projects/4/data?task=9"
    assert told["items"] == [{**item, "text": "a?b", "choice": None, "link": link}], "half a surrogate pair is no JSON"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/projects/77", 404),
        ("/api/projects/x%20y", 404),
        ("/api/projects/77/queue", 404),
        ("/api/projects/4/queue?limit=0", 422),
        ("/api/projects/4/queue?limit=201", 422),
        ("/api/projects/4/queue?limit=x", 422),
        ("/api/projects/77/suspects", 404),
        ("/api/projects/77/checks", 404),
        ("/api/projects/77/simulations", 404),
        ("/api/projects/4/simulations/1/report", 404),
        ("/api/projects/4/simulations/x/report", 422),
        ("/api/projects/4/versions/v9/download", 404),
        ("/api/projects/4/versions/..%2F..%2Fetc/download", 404),
        ("/api/nothing", 404),
    ],
)
def test_what_is_not_there(sender, path, status):
    sender.setup()
    answer = sender.client.get(path)
    assert answer.status_code == status and answer.json()["detail"]


def test_a_version_is_downloaded_and_nothing_stays_behind(sender, workspace, tmp_path, monkeypatch):
    annotate_and_train(sender, workspace)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    version = get(sender)["version"]
    answer = sender.client.get(f"/api/projects/4/versions/{version}/download")
    assert answer.status_code == 200 and answer.content.startswith(b"PK")
    assert answer.headers["content-type"] == "application/zip"
    assert version in answer.headers["content-disposition"]
    assert set(tmp_path.iterdir()) == before


def test_checks_are_told(sender):
    sender.setup()
    told = get(sender, "/checks")["checks"]
    assert {"token", "sampling", "model_version"} <= {one["name"] for one in told}
    assert all(one["remedy"] for one in told if one["ok"] is False)
    assert sender.client.post("/api/projects/4/checks/nonsense").status_code in (404, 422)
    assert sender.client.post("/api/projects/77/checks/sampling").status_code == 404


def test_the_document_says_what_comes(sender):
    told = sender.client.get("/openapi.json").json()
    of = {path: item["get"]["responses"]["200"].get("content") for path, item in told["paths"].items() if "get" in item}
    schema = lambda path: of[path]["application/json"]["schema"]["$ref"].rpartition("/")[2]  # noqa: E731
    assert schema("/api/projects") == "Projects" and schema("/api/projects/{key}") == "Detail"
    assert schema("/api/projects/{key}/queue") == "Queue"
    assert "text/event-stream" in of["/api/events"]
    summary = told["components"]["schemas"]["Summary"]["properties"]
    sender.setup()
    (project,) = sender.client.get("/api/projects").json()["projects"]
    assert set(summary) == set(project)
    assert "in" in told["components"]["schemas"]["NextRound"]["properties"]
    for path in ("/docs", "/redoc"):
        assert sender.client.get(path).status_code == 404, "they would load scripts from elsewhere"
