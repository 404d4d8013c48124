"""What is asked and answered, as types: they make the OpenAPI document. Null is what is not known (yet)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from labelstudio.events import project_key

Text = Annotated[str, BeforeValidator(lambda text: text.encode("utf-8", "replace").decode())]
"""What people have written: half a surrogate pair, of which there is no JSON, becomes "?"."""


class Progress(BaseModel):
    """Where the round is that runs at present."""

    round: int
    step: str
    done: int | None = None
    of: int | None = None
    """Of this step: texts, epochs, folds, or seconds."""
    share: float | None = Field(None, description="Of the whole round, in [0, 1], by how long earlier ones took.")
    seconds_left: float | None = Field(None, description="By the same; what remains may take longer or shorter.")


class Evaluation(BaseModel):
    """Strict F1 in [0, 1] with its 95% interval."""

    kind: str = Field("spans", description="What is found: spans, choices or relations.")
    accuracy: bool = Field(False, description="Whether F1 is the accuracy: one choice a text.")

    f1: float
    low: float
    high: float
    method: str = Field(description="hold-out, or cross-validation as long as that is too small.")
    words: int | None = Field(None, description="In all tasks that were labelled then.")


class NextRound(BaseModel):
    """How much labelling is left until then."""

    model_config = ConfigDict(populate_by_name=True)

    in_: int = Field(alias="in")
    unit: str = Field(description="tasks or words")


class Summary(BaseModel):
    """A project at a glance."""

    key: str
    id: int = Field(description="Its number in Label Studio.")
    title: str | None
    state: str = Field(
        description="waiting, cold start, collecting, training, publishing, idle, paused or error: the last round's."
    )
    notice: str | None = Field(description="What stands in the way, in words.")
    error: str | None = Field(description="Of the last round.")
    due: str | None = Field(description="Why a round is to begin; null if none is.")
    paused: bool
    progress: Progress | None
    evaluation: Evaluation | None = Field(description="Of the version in use.")
    evaluated_also: list[Evaluation] = Field(description="Of the other kinds that it marks.")
    tasks: int
    labelled: int
    queue_left: int | None
    new_annotations: int = Field(description="Tasks annotated since a model last learned.")
    next_round: NextRound
    version: str
    tagger: str = Field(description="The model of what the project is judged by.")
    models: dict[str, str] = Field(description="The model of each kind that the project marks, by the kind.")
    strategy: str
    ordered_by: str | None = Field(description="The strategy that ordered the present queue.")
    ranked_by: str | None = Field(description="The model that ordered the present queue.")


class Label(BaseModel):
    kind: str = Field(description="spans, choices or relations")
    value: str
    colour: str | None = Field(description="As the label config says, if that is a colour in CSS.")


class Point(Evaluation):
    """A round that trained a model."""

    round: int
    version: str


class Curve(BaseModel):
    """Of the rounds that trained the same kind of model as the last one."""

    points: list[Point]
    fit: dict[str, Any] | None = Field(description="What may come: text, and line of {words, f1, low, high}.")
    saving: dict[str, Any] | None = Field(description="Against random order: text, share, low, high.")


class LabelScores(BaseModel):
    """On the texts of the evaluation: F1 and so on in [0, 1]; spans, choices or relations are counted."""

    kind: str
    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    gold: int | None
    predicted: int | None
    labelled: int = Field(description="How often it was given in all annotations that count.")


class RoundState(BaseModel):
    number: int
    version: str
    kind: str
    state: str
    reason: str
    progress: dict[str, Any]
    metrics: dict[str, Any]
    problems: list[Text]
    error: str | None
    started_at: str
    seconds: float | None


class Version(BaseModel):
    """A model that a round trained."""

    version: str
    round: int
    current: bool = Field(description="Whether it tags at present.")
    stored: bool = Field(description="Whether it can be rolled back to and downloaded.")
    f1: float | None
    words: int | None
    tagger: str | None = Field(description="Its model, or models.")
    strategy: str | None
    settings: dict[str, Any]
    created_at: str
    bytes: int | None


class Choices(BaseModel):
    """What may be chosen in the form."""

    models: dict[str, list[str]] = Field(description="By the setting that takes them.")
    strategies: dict[str, list[str]] = Field(description="By model, those that work with it.")


class Detail(Summary):
    """A project with its rounds, versions and settings."""

    link: str | None = Field(description="The project in Label Studio.")
    labels: list[Label]
    advice: dict[str, Any] | None
    curve: Curve
    label_scores: list[LabelScores]
    batch: dict[str, Any] | None = Field(description="What the texts were like that were labelled last.")
    rounds: list[RoundState] = Field(description="The newest, the latest first.")
    versions: list[Version]
    settings: dict[str, Any] = Field(description="In force.")
    choices: Choices


class Projects(BaseModel):
    projects: list[Summary]


class Region(BaseModel):
    start: int
    end: int
    label: str


class QueuedSpan(BaseModel):
    """Places are code points of `text` (of `[...text]` in JavaScript)."""

    start: int
    end: int
    label: str
    confidence: float | None


class QueuedChoice(BaseModel):
    label: Text
    confidence: float | None


class QueuedRelation(BaseModel):
    """A labelled arrow between two spans."""

    head: Region
    tail: Region
    label: Text
    confidence: float | None


class Uncertain(BaseModel):
    """A word of which the model is not sure."""

    start: int
    end: int
    confidence: float


class QueuedTask(BaseModel):
    id: int
    position: int
    priority: float | None = Field(description="The strategy's figure, higher is sooner; null where it gave none.")
    score: float = Field(description="Label Studio's, lower is sooner.")
    holdout: bool
    text: Text
    cut: bool = Field(description="Whether the text goes on.")
    words: int
    spans: list[QueuedSpan]
    choices: list[QueuedChoice]
    relations: list[QueuedRelation]
    uncertain: list[Uncertain] = Field(description="Where spans are marked.")
    why: Text
    link: str | None


class Queue(BaseModel):
    version: str
    tasks: list[QueuedTask]


class DoubtedWord(BaseModel):
    start: int
    end: int
    given: str
    suggested: str
    confidence: float


class DoubtedChoice(BaseModel):
    given: str
    suggested: str
    confidence: float


class Suspect(BaseModel):
    task: int
    text: Text
    given: list[Region]
    suggested: list[Region]
    words: list[DoubtedWord]
    choice: DoubtedChoice | None = Field(None, description="Of the whole text; then there are no words.")
    link: str | None = None


class Suspects(BaseModel):
    """Annotations in which a model that has not seen them would have decided otherwise, the surest first."""

    version: str | None = None
    checked: int | None = None
    items: list[Suspect] = []
    notes: list[str] = Field([], description="What was not looked at.")


class Check(BaseModel):
    name: str
    title: str
    ok: bool | None
    text: str
    remedy: str | None
    mendable: bool


class Checks(BaseModel):
    checks: list[Check]


class Simulations(BaseModel):
    simulations: list[dict[str, Any]] = Field(description="The newest, the latest first.")


class Message(BaseModel):
    message: str


class Pause(BaseModel):
    paused: bool


class Rollback(BaseModel):
    version: str


Key = Annotated[
    str,
    BeforeValidator(project_key),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,18})?$", "examples": ["2.1795245528"]}),
]
"""What Label Studio calls a project: its number, and the second in which it was made."""


class Health(BaseModel):
    status: str
    model_class: str


class Introduction(BaseModel):
    """What Label Studio says of a project before it asks anything else."""

    project: Key
    label_config: str = Field(alias="schema")
    hostname: str | None = None
    access_token: str | None = None
    extra_params: dict[str, Any] | str | None = Field(None, description="Settings, or JSON of them.")


class Introduced(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_version: str


class Asked(BaseModel):
    """Tasks to pre-annotate: Label Studio's own, whole."""

    tasks: list[dict[str, Any]]
    project: Key
    label_config: str | None = None
    params: dict[str, Any] | None = None


class Predicted(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    result: list[dict[str, Any]] = Field(description="Regions.")
    score: float = Field(ge=0, le=1, description="Lower is sooner.")
    model_version: str


class Predictions(BaseModel):
    results: list[Predicted] = Field(description="One for each task, in their order.")


class Told(BaseModel):
    """An event: further keys, such as `task` and `annotation`, are what the action is about."""

    model_config = ConfigDict(extra="allow")

    action: str
    project: dict[str, Any] | int | str = Field(description="The project itself, or what /setup calls it.")


class Due(BaseModel):
    """Whether a round waits."""

    due: str | None
    reason: str | None


class Versions(BaseModel):
    versions: list[str]
