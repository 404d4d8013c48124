import pytest
from pydantic import ValidationError

from learning.settings import ProjectSettings, Settings, in_words


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # away from any .env
    return Settings(tagger="crf", strategy="mnlp", data_dir=tmp_path)


def test_environment_and_dotenv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ROUND_SIZE=7\nLABEL_STUDIO_API_KEY=secret-token\n")
    monkeypatch.setenv("TAGGER", "crf")
    monkeypatch.setenv("TAGGER_OPTIONS", '{"iterations": 5}')
    found = Settings()
    assert (found.round_size, found.tagger, found.tagger_options) == (7, "crf", {"iterations": 5})
    assert "secret-token" not in repr(found)


def test_a_projects_own_parameters_come_first(settings):
    mine = settings.for_project({"strategy": "lc", "round_size": 5})
    assert (mine.strategy, mine.round_size, mine.tagger) == ("lc", 5, "crf")
    assert type(mine) is ProjectSettings


def test_a_json_string_is_taken_too(settings):
    assert settings.for_project('{"round_size": 3}').round_size == 3
    assert settings.for_project("").round_size == settings.round_size
    assert settings.for_project(None).round_size == settings.round_size


def test_what_is_checked_once_is_not_mixed_up(settings):
    other = settings.model_copy(update={"seed": 7, "tagger_options": {"iterations": 5}})
    for _ in range(2):
        assert (settings.for_project({"round_size": 3}).seed, other.for_project({"round_size": 3}).seed) == (0, 7)
        assert settings.for_project({"round_size": 4}).round_size == 4
        assert (settings.for_project({}).tagger_options, other.for_project({}).tagger_options) == (
            {},
            {"iterations": 5},
        )
        with pytest.raises(ValueError, match="round_size"):
            settings.for_project({"round_size": 0})


def test_options_of_another_tagger_are_not_inherited(settings):
    settings = settings.model_copy(update={"tagger_options": {"iterations": 5}})
    assert settings.for_project({"tagger": "transformer"}).tagger_options == {}
    assert settings.for_project({"round_size": 3}).tagger_options == {"iterations": 5}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"strategy": "oracle"}, ["oracle", "mnlp"]),
        ({"tagger": "gpt"}, ["gpt", "crf"]),
        ({"classifier": "crf"}, ["classifier", "crf", "spans", "transformer-classifier"]),
        ({"relation_classifier": "tfidf-classifier"}, ["relation_classifier", "choices", "relation-classifier"]),
        ({"tagger": "tfidf-classifier"}, ["tagger", "set classifier", "crf"]),
        ({"queue_by": "words"}, ["queue_by", "relations"]),
        ({"round_size": 0}, ["round_size"]),
        ({"colour": 1}, ["colour"]),
        ("[1]", ["JSON object"]),
        ("{", ["not JSON"]),
    ],
)
def test_what_does_not_fit_is_refused_in_words(settings, extra, words):
    with pytest.raises(ValueError) as caught:
        settings.for_project(extra)
    for word in words:
        assert word in str(caught.value)


def test_authentication_needs_both_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="both or neither"):
        Settings(basic_auth_user="me")
    with pytest.raises(ValueError, match="ASCII"):
        Settings(basic_auth_user="me", basic_auth_pass="pässword")


def test_faults_are_told_without_the_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "70000")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret-token")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "port" in in_words(caught.value) and "secret-token" not in in_words(caught.value)
