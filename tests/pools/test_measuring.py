"""What is measured of a part: the numbers of the strategy, in a file that is whole or does not count."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

import taggers
from corpus import Sentence
from learning.loop import fit_kinds
from learning.measuring import Measuring
from learning.readers import Readers
from learning.settings import Settings
from learning.steps import silently
from learning.venue import Collected
from learning.workspace import Workspace
from pools import measuring, storing
from pools.backing import backing
from pools.jobs import Job, job
from pools.measuring import UNREAD, Measurer, gather, measure_here, missing, read, write
from strategies import Measured, pool_filter, strategy
from taggers import vector_store
from tests.pools.projects import connected, made_pool, marked, numbered
from tests.taggers.tiny import encoder, one_thread  # noqa: F401


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Makes a workspace with a project that has a model, by settings."""

    def make(**changes):
        monkeypatch.chdir(tmp_path)  # away from any .env
        workspace = Workspace(
            Settings(data_dir=tmp_path / "data", **{"tagger": "crf", "round_size": 10, "holdout_share": 0.0, **changes})
        )
        learned = marked(30, ["spans"])
        model = fit_kinds(learned, ["spans"], workspace.settings, np.random.default_rng(0))
        return workspace, connected(workspace, model, learned, ["spans"])

    return make


@pytest.fixture
def asked(tmp_path, monkeypatch, project):
    """A pool of three parts, and the job to measure it."""
    workspace, id = project()
    pool = made_pool(tmp_path / "pool", numbered(40), 16, monkeypatch)
    return pool, job(pool, backing(workspace, id), "spans", "strategy")


def window(encoder):  # noqa: F811
    return {"tagger": "window", "tagger_options": {"encoder": encoder, "epochs": 2}}


NAMES = ["mnlp", "margin", "badge", "coreset", "batl", "uherding", "bald", "bert-km", "ft-bert-km", "random"]


@pytest.mark.parametrize("name", [*NAMES, "ups", "anchors"])
def test_the_numbers_are_those_of_the_live_loop(tmp_path, monkeypatch, project, encoder, name):  # noqa: F811
    filters = {"filter": name} if name in ("ups", "anchors") else {"strategy": name}
    workspace, id = project(**window(encoder), **filters)
    texts = [*numbered(30), ""]
    pool = made_pool(tmp_path / "pool", texts, 8, monkeypatch)
    known = backing(workspace, id)
    asked = job(pool, known, "spans", "filter" if "filter" in filters else "strategy")
    measure_here(pool, asked, pool.parts, silently)
    found = gather(pool, asked, np.arange(pool.size))
    waiting = [Sentence.from_text(f"row {row}", text) for row, text in enumerate(texts)]
    model = workspace.models.load(id, known.version)
    live = Measuring(Collected(known.labelled, [], waiting), model, Readers(known.settings), silently, {})
    what = pool_filter(name) if "filter" in filters else strategy(name)
    expected, labelled = live.of(what, np.arange(pool.size))
    assert (found.values.shape, found.values.dtype) == (expected.values.shape, expected.values.dtype)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-4, atol=1e-5)
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert found.state_size == expected.state_size
    if labelled is not None:
        again = Measurer(asked).of([sentence.unlabelled() for sentence in known.labelled])
        np.testing.assert_allclose(again.values, labelled.values, rtol=1e-4, atol=1e-5)


def test_a_part_is_measured_once_and_what_is_missing_is_told(asked):
    pool, todo = asked
    assert missing(pool, todo) == [*pool.parts]
    told = []
    measure_here(pool, todo, pool.parts[1:2], lambda step, **detail: told.append((step, detail)))
    assert missing(pool, todo) == [pool.parts[0], pool.parts[2]]
    measure_here(pool, todo, missing(pool, todo), lambda step, **detail: told.append((step, detail)))
    assert missing(pool, todo) == []
    of = {"of": 40}
    done = [24, 40, 16, 32, 40]  # of the whole pool: the first run leaves out the first and the last part
    assert told == [("measure", {"done": rows, **of}) for rows in done]


def test_what_is_broken_off_is_gone_on_with(asked, monkeypatch):
    pool, todo = asked
    texts = []
    whole = Measurer.__call__

    def dies_in_the_second(self, tasks, first):
        texts.append(first)
        if len(texts) == 2:
            raise KeyboardInterrupt
        return whole(self, tasks, first)

    monkeypatch.setattr(Measurer, "__call__", dies_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        measuring.complete(pool, todo, measure_here, silently)
    measuring.complete(pool, todo, measure_here, silently)
    assert texts == [0, 16, 16, 32]
    assert missing(pool, todo) == []


def test_a_write_that_was_broken_off_never_counts(asked, monkeypatch):
    pool, todo = asked

    def dies(table, path, **options):
        path.write_bytes(b"PAR1 half a file")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storing.pq, "write_table", dies)
        with pytest.raises(OSError, match="No space"):
            measure_here(pool, todo, pool.parts, silently)
    assert missing(pool, todo) == [*pool.parts]
    assert not [*todo.folder.iterdir()]


@pytest.mark.parametrize("columns", [None, 3])
def test_no_damage_passes_for_numbers(asked, columns):
    """A byte at a time, anywhere in the file: it is found, or makes no difference."""
    pool, todo = asked
    part, rng = pool.parts[0], np.random.default_rng(0)
    values = rng.random(16) if columns is None else rng.random((16, columns)).astype(np.float32)
    path = write(pool.folder, todo, part, Measured(values, np.arange(16), 2))
    whole, expected = path.read_bytes(), read(pool.folder, todo, part)
    assert expected.values.tolist() == values.tolist() and expected.state_size == 2
    found = 0
    for place in rng.permutation(len(whole))[:300]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.integers(8))]) + whole[place + 1 :])
        try:
            again = read(pool.folder, todo, part)
        except storing.Broken:
            found += 1
            assert part in missing(pool, todo)
        else:
            assert (again.values.tolist(), again.lengths.tolist()) == (values.tolist(), [*range(16)])
            assert again.state_size == 2
    assert found > 100
    for short in (whole[:-1], whole[: len(whole) // 2], b""):
        path.write_bytes(short)
        assert part in missing(pool, todo)


def test_a_file_of_another_part_does_not_count(asked):
    pool, todo = asked
    measure_here(pool, todo, pool.parts[:1], silently)
    files = [todo.folder / part.path.name for part in pool.parts]
    files[1].write_bytes(files[0].read_bytes())
    assert missing(pool, todo) == [*pool.parts[1:]]


def test_only_the_rows_that_are_asked_for_are_measured(asked, monkeypatch):
    pool, todo = asked
    rows = np.array([3, 5, 33, 39])
    some = todo.limited_to(rows)
    assert missing(pool, some) == [pool.parts[0], pool.parts[2]]  # there is nothing to do in the second
    seen = []
    of = Measurer.of
    monkeypatch.setattr(Measurer, "of", lambda self, texts, *rest: seen.extend(s.id for s in texts) or of(self, texts))
    measure_here(pool, some, missing(pool, some), silently)
    assert seen == ["3", "5", "33", "39"] and missing(pool, some) == []
    monkeypatch.undo()
    measure_here(pool, todo, pool.parts, silently)
    assert gather(pool, some, rows[1:]).values.tolist() == gather(pool, todo, rows[1:]).values.tolist()
    kept = some.folder / "rows.npy"
    kept.write_bytes(kept.read_bytes()[:-8])
    storing.load_rows.cache_clear()
    with pytest.raises(storing.Broken, match="start again"):
        missing(pool, some)
    assert missing(pool, todo.limited_to(rows)) == []


def test_the_name_tells_what_decides_the_numbers(tmp_path, project, monkeypatch):
    workspace, id = project()
    pool, known = made_pool(tmp_path / "pool", numbered(4), 16, monkeypatch), backing(workspace, id)
    todo = job(pool, known, "spans", "strategy")

    def name(**changes):
        settings = known.settings.model_copy(update=changes)
        return job(pool, dataclasses.replace(known, settings=settings), "spans", "strategy").name

    assert name() == todo.name and name(round_size=99, filter="ups", seed=9) == todo.name
    names = [name(), name(strategy="margin"), name(strategy="badge")]
    names.append(name(strategy="badge", strategy_options={"dimensions": 8}))
    title = dataclasses.replace(known.schema, value="title")
    names.append(job(pool, dataclasses.replace(known, schema=title), "spans", "strategy").name)
    renamed = dataclasses.replace(known.schema, labels=("PERSON",))
    assert job(pool, dataclasses.replace(known, schema=renamed), "spans", "strategy").name == todo.name
    other = fit_kinds(marked(20, ["spans"], seed=5), ["spans"], workspace.settings, np.random.default_rng(0))
    other.save(tmp_path / "other")
    names.append(job(pool, dataclasses.replace(known, ranks={"spans": tmp_path / "other"}), "spans", "strategy").name)
    assert len(set(names)) == 6


def test_a_job_is_all_that_another_process_needs(asked):
    pool, todo = asked
    texts = pool.read(pool.parts[1])
    expected = Measurer(todo)(texts, 16)
    for told in (Job.model_validate_json(todo.model_dump_json()), pickle.loads(pickle.dumps(todo))):
        assert told == todo and told.name == todo.name
        assert Measurer(told)(texts, 16).values.tolist() == expected.values.tolist()


def test_a_model_that_is_damaged_or_another_measures_nothing(asked):
    _, todo = asked
    file = todo.model.folder / "tagger.json"
    whole = file.read_text()
    file.write_text(whole + "\n")
    with pytest.raises(taggers.Damaged, match=r"its file 'tagger.json' is not what was stored"):
        Measurer(todo)
    file.write_text(json.dumps(json.loads(whole) | {"seed": 5}))
    taggers.checksums.seal(todo.model.folder)
    with pytest.raises(taggers.Damaged, match="was replaced meanwhile"):
        Measurer(todo)


def test_a_text_that_cannot_be_read_has_no_length(asked):
    _, todo = asked
    found = Measurer(todo)([{"text": "Ada saw Oslo"}, {"title": "Ada"}, {"text": ""}, {"text": 5}], 0)
    assert found.lengths.tolist() == [3, UNREAD, 0, 1]
    assert found.values[[1, 2]].tolist() == [0, 0] and (found.values[[0, 3]] > 0).all()
    assert Measurer(todo)([{"title": "Ada"}], 0).lengths.tolist() == [UNREAD]


def test_parts_without_words_take_no_part_in_the_width(tmp_path, monkeypatch, project, encoder):  # noqa: F811
    workspace, id = project(**window(encoder), strategy="coreset")
    data = [{"title": "1"}, {"text": ""}, {"text": " "}, {"text": "Ada saw Oslo"}, {"text": "\n"}, {"text": "\t"}]
    pool = made_pool(tmp_path / "pool", data, 2, monkeypatch)
    asked = job(pool, backing(workspace, id), "spans", "strategy")
    measure_here(pool, asked, pool.parts, silently)
    found = gather(pool, asked, np.arange(1, 6))
    assert found.values.ndim == 2 and found.values.dtype == np.float32
    assert found.values.any(axis=1).tolist() == [False, False, True, False, False]
    assert measuring.lengths(pool, asked).tolist() == [UNREAD, 0, 0, 3, 0, 0]


def test_no_vectors_of_a_pools_texts_are_kept_on_disk(tmp_path, monkeypatch, project, encoder):  # noqa: F811
    workspace, id = project(**window(encoder))
    pool = made_pool(tmp_path / "pool", numbered(20), 8, monkeypatch)
    kept = vector_store.kept_in()

    def size():
        return sum(file.stat().st_size for file in kept.rglob("*.fp16"))

    before = size()
    asked = job(pool, backing(workspace, id), "spans", "strategy")
    measure_here(pool, asked, pool.parts, silently)
    assert size() == before > 0 and vector_store.kept_in() == kept
