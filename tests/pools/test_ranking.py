"""A pool is ranked as the live loop would rank the same texts, whatever its parts."""

import tracemalloc

import numpy as np
import pytest

import taggers
from corpus import Sentence
from learning import queue
from learning.database import Project
from learning.loop import fit_kinds
from learning.settings import Settings
from learning.venue import Collected
from learning.workspace import Workspace
from pools.backing import backing
from pools.jobs import job
from pools.measuring import gather, measure_here, missing, write
from pools.ranking import latest, rank
from strategies import Measured
from tests.learning.word_between import relations_by_a_word  # noqa: F401
from tests.pools.projects import config, connected, made_pool, marked, numbered
from tests.taggers.tiny import encoder, one_thread  # noqa: F401

LIMIT = 12
ODD = ["", "   ", "Ada"]
"""Texts without words, and a short one."""


@pytest.fixture
def project(tmp_path, monkeypatch, encoder):  # noqa: F811
    """Makes a workspace with a project that has a model, by settings and kinds of marks."""

    def make(kinds=("spans",), **changes):
        monkeypatch.chdir(tmp_path)  # away from any .env
        window = {"tagger": "window", "tagger_options": {"encoder": encoder, "epochs": 2}}
        others = {"classifier": "tfidf-classifier", "relation_classifier": "word-between", "cold_start": "random"}
        given = {**window, **others, "round_size": LIMIT // 2, "holdout_share": 0.0, **changes}
        workspace = Workspace(Settings(data_dir=tmp_path / "data", **given))
        learned = marked(40, kinds)
        model = fit_kinds(learned, kinds, workspace.settings, np.random.default_rng(0))
        return workspace, connected(workspace, model, learned, kinds)

    return make


def live(workspace, project, texts) -> list[queue.Queued]:
    """What a round of the live loop makes of these texts, by row."""
    known = backing(workspace, project)
    tags = workspace.models.load(project, known.version)
    ranks = workspace.models.load_acquisition(project, known.version)
    waiting = [Sentence.from_text(f"row {row}", text) for row, text in texts]
    found = Collected(known.labelled, [], waiting, kinds=known.schema.kinds)
    return queue.order(ranks, found, known.settings, known.rng(), successor=tags).queue


def assert_same(ranked, expected):
    assert ranked.rows.tolist() == [int(queued.id.removeprefix("row ")) for queued in expected]
    priorities = [np.nan if queued.priority is None else queued.priority for queued in expected]
    np.testing.assert_allclose(
        ranked.priority, priorities, rtol=1e-4
    )  # where batches differ, the last bits of float32 do


FILTERS = [
    {},
    {"filter": "ups", "filter_options": {"share": 0.4, "temperature": 0.05}},
    {"filter": "anchors", "filter_options": {"size": 30, "neighbours": 8}},
]


STRATEGIES_TRIED = ["mnlp", "badge", "coreset", "batl", "discriminative", "bert-km", "random", "bald"]
CASES = [
    pytest.param(strategy, filter, marks=[pytest.mark.slow] if filter and strategy not in ("mnlp", "badge") else [])
    for strategy in STRATEGIES_TRIED
    for filter in FILTERS
]


@pytest.mark.parametrize(("strategy", "filter"), CASES)
def test_a_pool_is_ranked_as_the_live_loop_would(tmp_path, monkeypatch, project, strategy, filter):
    workspace, id = project(strategy=strategy, **filter)
    texts = [*numbered(60), *ODD, *numbered(20, seed=3)]
    pool = made_pool(tmp_path / "pool", texts, 16, monkeypatch)
    assert len(pool.parts) == 6
    ranked = rank(pool, workspace, id, limit=LIMIT)
    assert_same(ranked, live(workspace, id, enumerate(texts)))
    left_out = np.isnan(ranked.priority).sum()
    assert (left_out > 20) if filter else not left_out


KINDS = [("choices",), ("spans", "relations"), ("spans", "choices", "relations")]


@pytest.mark.slow
@pytest.mark.parametrize("filter", FILTERS[:2], ids=["all", "ups"])
@pytest.mark.parametrize("kinds", KINDS)
def test_so_are_choices_and_relations_and_several_kinds_by_the_mean_of_their_places(
    tmp_path, monkeypatch, project, kinds, filter
):
    workspace, id = project(kinds, tagger="crf", tagger_options={}, **filter)
    texts = [*numbered(50), *ODD]
    pool = made_pool(tmp_path / "pool", texts, 16, monkeypatch)
    assert_same(rank(pool, workspace, id, limit=LIMIT), live(workspace, id, enumerate(texts)))


def test_relations_between_the_spans_that_are_found_order_a_pool(tmp_path, monkeypatch, project):
    given = {"tagger": "crf", "tagger_options": {}, "queue_by": "relations", "strategy": "coreset"}
    workspace, id = project(("spans", "relations"), **given)
    texts = numbered(50)
    pool = made_pool(tmp_path / "pool", texts, 16, monkeypatch)
    ranked = rank(pool, workspace, id, limit=LIMIT)
    assert_same(ranked, live(workspace, id, enumerate(texts)))
    spans = workspace.models.load(id, ranked.version).parts["spans"]
    alone = [len(found) < 2 for found in spans.predict([Sentence.from_text("", texts[row]) for row in ranked.rows])]
    assert alone == sorted(alone) and 0 < sum(alone) < 50  # nothing to decide: last


def test_the_acquisition_model_ranks(tmp_path, monkeypatch, project):
    workspace, id = project(acquisition="crf", acquisition_options={"iterations": 3})
    learned, known = marked(40, ["spans"]), backing(workspace, id)
    quick = fit_kinds(learned, ["spans"], workspace.settings.ranking, np.random.default_rng(0))
    quick.save(workspace.models.shelf(id) / "acquisition" / known.version)
    texts = numbered(50)
    pool = made_pool(tmp_path / "pool", texts, 16, monkeypatch)
    assert backing(workspace, id).acquisition
    assert_same(rank(pool, workspace, id, limit=LIMIT), live(workspace, id, enumerate(texts)))


@pytest.mark.parametrize("strategy", ["mnlp", "bert-km"])
def test_what_is_in_label_studio_already_is_not_ranked(tmp_path, monkeypatch, project, strategy):
    workspace, id = project(strategy=strategy)
    texts = numbered(60)
    pool = made_pool(tmp_path / "pool", texts, 16, monkeypatch)
    before = rank(pool, workspace, id, limit=LIMIT)
    known = backing(workspace, id)
    gone = before.rows[:20].tolist()
    pool.note_sent(known.project, {row: 1000 + row for row in gone})
    pool.note_sent("another", {row: row for row in range(60)})
    assert latest(pool, known).rows.tolist() == before.rows[20:].tolist()
    left = [(row, text) for row, text in enumerate(texts) if row not in gone]
    again = rank(pool, workspace, id, limit=LIMIT, measure=refuse)  # all is measured
    assert_same(again, live(workspace, id, left))


def refuse(pool, job, parts, on_step):
    raise AssertionError(f"{job.name} would be measured again: {parts}")


def test_texts_that_cannot_be_read_are_left_out_and_named(tmp_path, monkeypatch, project, caplog):
    workspace, id = project(tagger="crf", tagger_options={})
    texts = numbered(40)
    data = [*texts[:20], {"title": "Ada"}, *texts[20:], {"text": None, "title": "Linus"}]
    pool = made_pool(tmp_path / "pool", data, 16, monkeypatch)
    ranked = rank(pool, workspace, id, limit=LIMIT)
    readable = [(row, text) for row, text in enumerate(data) if isinstance(text, str)]
    assert_same(ranked, live(workspace, id, readable))
    assert ranked.unread == 2
    assert ["row 20: The task has no data field 'text'" in ranked.problems[0], "row 41: " in ranked.problems[1]] == [
        True
    ] * 2
    assert ranked.problems[0] in caplog.text
    assert latest(pool, backing(workspace, id)).problems == ranked.problems
    unreadable = made_pool(tmp_path / "titles", [{"title": text} for text in texts], 16, monkeypatch)
    with pytest.raises(ValueError, match=r"holds no text that can be ranked: row 0: .*no data field 'text'"):
        rank(unreadable, workspace, id, limit=LIMIT)
    with pytest.raises(ValueError, match="holds no text that can be ranked: it is empty"):
        rank(made_pool(tmp_path / "empty", [], 16, monkeypatch), workspace, id, limit=LIMIT)


def test_an_order_is_found_again_until_what_decides_it_changes(tmp_path, monkeypatch, project):
    workspace, id = project(tagger="crf", tagger_options={})
    pool = made_pool(tmp_path / "pool", numbered(40), 16, monkeypatch)
    assert latest(pool, backing(workspace, id)) is None
    ranked = rank(pool, workspace, id, limit=LIMIT)
    found = latest(pool, backing(workspace, id))
    assert (found.name, found.version, found.limit) == (ranked.name, ranked.version, LIMIT)
    assert found.rows.tolist() == ranked.rows.tolist() and found.priority.tolist() == ranked.priority.tolist()
    with workspace.db.write() as session:
        session.get_one(Project, id).extra_params = {"strategy": "margin"}
    assert latest(pool, backing(workspace, id)) is None
    measured = {folder.name for folder in (pool.folder / "measured").iterdir()}
    rank(pool, workspace, id, limit=LIMIT)
    assert not measured & {folder.name for folder in (pool.folder / "measured").iterdir()}  # nothing old is kept
    assert len([*(pool.folder / "rankings").iterdir()]) == 1
    pool.add([{"text": "Ada is new here"}])
    assert latest(pool, backing(workspace, id)) is None  # it knows nothing of the new row
    asked = []

    def measure(pool, job, parts, on_step):
        asked.extend(part.number for part in parts)
        measure_here(pool, job, parts, on_step)

    assert 40 in rank(pool, workspace, id, limit=LIMIT, measure=measure).rows
    assert asked == [3]
    file = pool.folder / "rankings" / f"{latest(pool, backing(workspace, id)).name}.parquet"
    file.write_bytes(file.read_bytes()[:100])
    assert latest(pool, backing(workspace, id)) is None


def test_other_projects_keep_theirs(tmp_path, monkeypatch, project):
    workspace, id = project(tagger="crf", tagger_options={})
    pool = made_pool(tmp_path / "pool", numbered(40), 16, monkeypatch)
    first = rank(pool, workspace, id, limit=LIMIT)
    with workspace.db.write() as session:
        session.get_one(Project, id).key = "3.1700000000"
    rank(pool, workspace, id, limit=LIMIT)
    with workspace.db.write() as session:
        session.get_one(Project, id).key = "2.1700000000"
    assert latest(pool, backing(workspace, id)).rows.tolist() == first.rows.tolist()
    rank(pool, workspace, id, limit=LIMIT, measure=refuse)


def test_what_cannot_be_ranked_says_why(tmp_path, monkeypatch, project):
    workspace, id = project(tagger="crf", tagger_options={})
    pool = made_pool(tmp_path / "pool", numbered(20), 16, monkeypatch)

    def refused(match, **changes):
        with workspace.db.write() as session:
            for name, value in changes.items():
                setattr(session.get_one(Project, id), name, value)
        with pytest.raises(ValueError, match=match):
            rank(pool, workspace, id, limit=LIMIT)

    refused("set MASKED_LM to a model", extra_params={"strategy": "alps"})
    other_tagger = {"tagger": "window", "strategy": "coreset"}  # the stored model is a CRF
    refused("'coreset' needs of the tagger what this one does not provide: hidden", extra_params=other_tagger)
    remote = config("spans").replace("value='$text'", "value='$text' valueType='url'")
    refused("from an address", extra_params={}, label_config=remote)
    refused("no model yet, .* label 6 of them", label_config=config("spans"), current_round_id=None)


def test_a_damaged_model_is_not_used(tmp_path, monkeypatch, project):
    workspace, id = project(tagger="crf", tagger_options={})
    pool = made_pool(tmp_path / "pool", numbered(20), 16, monkeypatch)
    card = backing(workspace, id).model / "tagger.json"
    card.write_text(card.read_text() + " ")
    with pytest.raises(taggers.Damaged, match=r"'tagger.json' is not what was stored"):
        rank(pool, workspace, id, limit=LIMIT)


def test_scores_of_many_rows_cost_little_memory_and_vectors_are_held_once(tmp_path, monkeypatch, project):
    """By tracemalloc, which counts NumPy's arrays; Arrow's buffers are of one part at a time."""
    rows, wide = 40_000, 64
    workspace, id = project(tagger="crf", tagger_options={})
    pool = made_pool(tmp_path / "pool", [f"{n}" for n in range(rows)], 2000, monkeypatch)
    known = backing(workspace, id)
    asked = job(pool, known, "spans", "strategy")
    rng = np.random.default_rng(0)
    for part in pool.parts:
        values = rng.standard_normal((part.rows, wide)).astype(np.float32)
        write(pool.folder, asked, part, Measured(values, np.ones(part.rows, np.int64)))
    missing(pool, asked)
    tracemalloc.start()
    found = gather(pool, asked, np.arange(rows))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.values.nbytes == rows * wide * 4
    assert peak < 1.3 * found.values.nbytes + 16 * rows
