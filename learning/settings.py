"""All settings: of a project (environment or Label Studio's connection form) and of the whole backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from corpus import KINDS, Kind
from strategies import STRATEGIES, check, pool_filter, strategy
from taggers import TAGGERS

MODELS: dict[Kind, tuple[str, str]] = {
    "spans": ("tagger", "tagger_options"),
    "choices": ("classifier", "classifier_options"),
    "relations": ("relation_classifier", "relation_options"),
}
"""The settings that name the model of each kind of mark, and its options."""
DECIDE_THE_MODEL = (
    *(setting for model in MODELS.values() for setting in model),
    *("warm_start", "adapt", "control", "dev_share", "seed"),
)
"""Settings that make another model of the same labels: it is trained anew, and begins another learning curve."""


class ProjectSettings(BaseModel):
    """How one project learns. Every field may stand in the environment (for all projects, upper case) or in the
    connection form's extra parameters (for one project, as JSON)."""

    model_config = ConfigDict(extra="forbid")

    tagger: str = Field("auto", description="The model that learns spans: see *Taggers*.")
    tagger_options: dict[str, Any] = Field({}, description='Options of the tagger, e.g. `{"epochs": 5}`.')
    classifier: str = Field("transformer-classifier", description="The model that learns choices: see *Taggers*.")
    classifier_options: dict[str, Any] = Field({}, description="Options of that model.")
    relation_classifier: str = Field(
        "relation-classifier", description="The model that learns relations between spans: see *Taggers*."
    )
    relation_options: dict[str, Any] = Field({}, description="Options of that model.")
    acquisition: str | None = Field(
        None, description="The model that ranks, where it is another than `TAGGER`, which then only tags: a fast one."
    )
    acquisition_options: dict[str, Any] = Field({}, description="Options of that model.")
    warm_start: bool = Field(
        False, description="Whether training goes on from the last model (drawn towards a fresh one) or from scratch."
    )
    strategy: str = Field("mnlp", description="What to label next: see *How the order is made*.")
    strategy_options: dict[str, Any] = Field({}, description='Options of the strategy, e.g. `{"total": true}`.')
    queue_by: Literal["all", "spans", "choices", "relations"] = Field(
        "all",
        description="What the strategy looks at where a project has several of these: `all` is the mean of the places "
        "that a text has by each.",
    )
    filter: str | None = Field(
        None, description="What the strategy chooses from, in large pools: `ups` or `anchors` (default: everything)."
    )
    filter_options: dict[str, Any] = Field({}, description='Options of the filter, e.g. `{"share": 0.2}`.')
    cold_start: str = Field(
        "auto",
        description="The order before the first training: `alps`, `bert-km` or `random`; `auto` takes the first that "
        "can be had, `alps` only where `MASKED_LM` is set.",
    )
    masked_lm: str | None = Field(
        None,
        description="The masked-language model of `alps`: a folder, a name on the Hugging Face Hub, or `adapted`, the "
        "encoder after `ADAPT_SECONDS` on the project's own texts (also what `alps` uses if nothing is set).",
    )
    adapt: bool = Field(
        False,
        description="Whether the tagger's encoder reads the project's own texts before it is trained (masked-token "
        "prediction, once a project).",
    )
    adapt_seconds: int = Field(300, ge=1, description="How long it reads them.")
    round_size: int = Field(50, ge=1, description="Newly annotated tasks that start a round.")
    round_words: int | None = Field(
        None, ge=1, description="Words in newly annotated tasks that start a round, instead of `ROUND_SIZE` tasks."
    )
    holdout_share: float = Field(
        0.1, ge=0, le=0.5, description="Share of the tasks that is queued at random and used for evaluation only."
    )
    dev_share: float = Field(
        0.2, ge=0, le=0.5, description="Share of the labelled texts that a tagger with early stopping keeps to stop by."
    )
    control: str | None = Field(
        None, description="Name of the label config's control tag to learn, if it has several (default: the first)."
    )
    keep_versions: int = Field(3, ge=1, description="Newest model versions kept on disk, besides the one in use.")
    seed: int = Field(0, ge=0, description="Seed of every random choice.")

    @model_validator(mode="after")
    def _fit_together(self) -> ProjectSettings:
        """Refuse unknown names, and a strategy that needs what none of the models provides: see `check_for`."""
        for name in (self.tagger, self.classifier, self.relation_classifier, self.ranking.tagger):
            if name not in TAGGERS:
                raise ValueError(f"unknown tagger {name!r}; known: {', '.join(sorted(TAGGERS))}")
        _check_kind("classifier", self.classifier, "choices")
        _check_kind("relation_classifier", self.relation_classifier, "relations")
        of_one = TAGGERS[self.tagger].kind
        faults = [self.of(kind)._misfit() for kind in (KINDS if of_one == "spans" else [of_one])]
        if all(faults):
            raise ValueError(faults[0])
        cold = ["auto", "random", *(name for name, kind in STRATEGIES.items() if kind.reads != "tagger")]
        if self.cold_start not in cold:
            raise ValueError(f"cold_start {self.cold_start!r} needs a model first; choose one of: {', '.join(cold)}")
        tagger, ranks = TAGGERS[self.tagger], TAGGERS[self.ranking.tagger]
        if self.warm_start and not (tagger.warm_starts or ranks.warm_starts):
            having = ", ".join(name for name, entry in TAGGERS.items() if entry.warm_starts)
            raise ValueError(f"warm_start: tagger {self.tagger!r} learns from scratch each time; those can: {having}")
        if self.adapt and not tagger.encoder:
            having = ", ".join(name for name, entry in TAGGERS.items() if entry.encoder)
            raise ValueError(f"adapt: tagger {self.tagger!r} has no encoder that could read; those have one: {having}")
        return self

    def of(self, kind: Kind) -> ProjectSettings:
        """The settings of one kind of mark alone: `tagger` is the model that learns it, and `acquisition` another model
        of that kind, or none. What is of one kind already stays as it is."""
        changes: dict[str, Any] = {}
        if TAGGERS[self.tagger].kind != kind:
            name, options = MODELS[kind]
            changes |= {"tagger": getattr(self, name), "tagger_options": getattr(self, options)}
        if self.acquisition is not None and TAGGERS[self.acquisition].kind != kind:
            changes |= {"acquisition": None, "acquisition_options": {}}
        return self.model_copy(update=changes) if changes else self

    @property
    def ranking(self) -> ProjectSettings:
        """The settings of the model that ranks: these, or where `acquisition` is set the same with that as tagger."""
        if self.acquisition is None:
            return self
        ranks = {"tagger": self.acquisition, "tagger_options": self.acquisition_options}
        return self.model_copy(update={**ranks, "acquisition": None, "acquisition_options": {}})

    def ordering(self, kinds: Sequence[Kind]) -> tuple[Kind, ...]:
        """Those of a project's kinds of marks that order its queue. Raises ValueError if it has not what is asked for;
        where there is but one, it does."""
        if len(kinds) < 2 or self.queue_by == "all":
            return tuple(kinds)
        if self.queue_by not in kinds:
            raise ValueError(f"queue_by: this project has no {self.queue_by}; take 'all' or one of: {', '.join(kinds)}")
        return (self.queue_by,)

    def check_for(self, kinds: Sequence[Kind]) -> None:
        """Raise ValueError, in words, if in a live project with these kinds of marks a model that orders the queue does
        not provide what the strategy or the filter needs."""
        for kind in self.ordering(kinds):
            fault = self.of(kind)._misfit()
            if fault is not None:
                others = ", ".join(other for other in kinds if other != kind)
                raise ValueError(f"the queue by {kind}: {fault}; or set queue_by to: {others}" if others else fault)

    def _misfit(self) -> str | None:
        """What the strategy or the filter needs and the model that ranks does not have, in words."""
        name = self.ranking.tagger
        ranks = TAGGERS[name]
        try:
            chosen = strategy(self.strategy, **self.strategy_options)
            check(chosen, ranks.provides)
            if self.filter is not None:
                check(pool_filter(self.filter, **self.filter_options), ranks.provides)
        except ValueError as error:
            return str(error)
        if chosen.dropout is not None and chosen.dropout not in ranks.dropouts:
            return f"tagger {name!r} has no dropout {chosen.dropout!r}; it has: {', '.join(ranks.dropouts)}"
        return None

    def fills_a_round(self, tasks: int, words: int) -> bool:
        """Whether so many newly annotated tasks, with so many words, start a round."""
        return tasks >= self.round_size if self.round_words is None else words >= self.round_words


class Settings(ProjectSettings, BaseSettings):
    """The backend's settings, from the environment or a `.env` file; the project's fields are defaults for all."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    label_studio_url: str | None = Field(
        None, description="Address of Label Studio as this backend reaches it, e.g. `http://localhost:8080`."
    )
    label_studio_api_key: SecretStr | None = Field(
        None, description="Token with which the queue is published; see *Connect it to your Label Studio*."
    )
    data_dir: Path = Field(Path("data"), description="Folder of the database, the models and the job queue.")
    database_url: str | None = Field(None, description="SQLAlchemy URL (default: SQLite in `DATA_DIR`).")
    queue_url: str | None = Field(None, description="`redis://…` for the job queue (default: SQLite in `DATA_DIR`).")
    clean_up_pause: int = Field(
        600,
        ge=0,
        description="Seconds without any work in a project before predictions of old versions are deleted in Label "
        "Studio, which answers slowly meanwhile.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(9090, ge=1, le=65535, description="Port to listen on.")
    workers: int = Field(2, ge=1, description="Web processes.")
    basic_auth_user: str | None = Field(None, description="User name that Label Studio and people must give.")
    basic_auth_pass: SecretStr | None = Field(None, description="Password that belongs to it.")
    max_body_mb: int = Field(100, ge=1, description="Largest request that is read, in megabytes; others get a 413.")
    reconcile_every: int = Field(
        300, ge=10, description="Seconds between two comparisons with Label Studio, which find what no webhook told of."
    )
    text_hosts: list[str] = Field(
        [],
        description='Hosts that texts may be fetched from where a config says `valueType="url"`, besides Label '
        'Studio\'s own: a JSON list, e.g. `["texts.example.com"]`.',
    )
    trainer_threads: int | None = Field(None, ge=1, description="CPU threads of a training (default: all cores).")
    trainer_memory_gb: float | None = Field(
        None, gt=0, description="Memory a training may take; a round that wants more fails, and the machine does not."
    )
    log_level: str = Field("INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.")
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or JSON objects for machines.")

    @model_validator(mode="after")
    def _both_or_neither(self) -> Settings:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            raise ValueError("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or neither")
        if self.basic_auth_pass and not self.basic_auth_pass.get_secret_value().isascii():
            raise ValueError("BASIC_AUTH_PASS: only ASCII characters arrive unchanged by basic authentication")
        return self

    @model_validator(mode="after")
    def _queue_of_redis(self) -> Settings:
        if self.queue_url and not self.queue_url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                "QUEUE_URL is a Redis: redis://HOST:6379/0, rediss://… (TLS) or unix://…; or leave it unset"
            )
        return self

    @model_validator(mode="after")
    def _tags(self) -> Settings:
        _check_kind("tagger", self.tagger, "spans")
        return self

    def in_force(
        self, extra_params: dict[str, Any] | None, kinds_by: Callable[[str | None], Sequence[Kind]] = lambda control: ()
    ) -> tuple[ProjectSettings, str | None]:
        """A project's settings, and None; or, where they no longer fit, these defaults and what is wrong. `kinds_by`
        tells by `control` which kinds of marks the project has, for which they must fit too."""
        try:
            settings = self.for_project(extra_params)
            _fits(settings.model_dump_json(), tuple(kinds_by(settings.control)))
            return settings, None
        except ValueError as error:
            return self, f"{error}; until this is mended the backend's own settings are used"

    def for_project(self, extra_params: dict[str, Any] | str | None) -> ProjectSettings:
        """These defaults with a project's own extra parameters over them.

        Raises ValueError, in words for the person who typed them, if they are no JSON object or do not fit.
        """
        defaults = {name: getattr(self, name) for name in ProjectSettings.model_fields}
        extra = as_dict(extra_params)
        others = ((name, f"{name}_options") for name in ("acquisition", "strategy", "filter"))
        for name, options in (*MODELS.values(), *others):
            if extra.get(name, defaults[name]) != defaults[name]:
                defaults[options] = {}  # options belong to the one they were set for
        try:
            made = _checked(json.dumps({**defaults, **extra}))
            _check_kind("tagger", made.tagger, "spans")
        except ValueError as error:
            fault = in_words(error) if isinstance(error, ValidationError) else error
            raise ValueError(f"extra parameters of the connection: {fault}") from None
        return made


@lru_cache(maxsize=256)
def _checked(told: str) -> ProjectSettings:
    """The settings that a JSON object names: every request asks for the same few, and checking them takes long."""
    return ProjectSettings(**json.loads(told))


@lru_cache(maxsize=256)
def _fits(told: str, kinds: tuple[Kind, ...]) -> None:
    """Raise ValueError if these settings do not fit such a project; that is asked as often, and takes longer."""
    _checked(told).check_for(kinds)


def _check_kind(setting: str, name: str, kind: Kind) -> None:
    """Raise ValueError if the model that a setting names finds something else."""
    found = TAGGERS[name].kind
    if found != kind:
        having = ", ".join(name for name, entry in TAGGERS.items() if entry.kind == kind)
        other = MODELS[found][0]
        raise ValueError(f"{setting}: {name!r} learns {found} (set {other} to it); for {kind} take: {having}")


def in_words(error: ValidationError) -> str:
    """What does not fit, without the values (one may be a token)."""
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or 'settings'}: {fault['msg']}" for fault in error.errors()
    )


def as_dict(extra_params: dict[str, Any] | str | None) -> dict[str, Any]:
    """Extra parameters as Label Studio sends them: an object, or JSON of one. Raises ValueError for anything else."""
    if isinstance(extra_params, str):
        try:
            extra_params = json.loads(extra_params) if extra_params.strip() else {}
        except json.JSONDecodeError as error:
            raise ValueError(f"extra parameters of the connection are not JSON: {error}") from None
    if extra_params is None:
        return {}
    if not isinstance(extra_params, dict):
        raise ValueError('extra parameters of the connection must be a JSON object, as in {"tagger": "crf"}')
    return extra_params
