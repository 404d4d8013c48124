"""What is right and wrong about a project's connection, by what Label Studio answers: one short function a check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from labelstudio.client import QUEUE_TAB, LabelStudio, ProjectRecord, Refused, Webhook
from labelstudio.events import project_key
from labelstudio.publish import UNCERTAINTY_SAMPLING
from labelstudio.schema import Schema, UnsupportedConfig, kinds_of, read_schema
from learning.database import Project
from learning.serving import UNTRAINED
from learning.settings import Settings
from server import webhooks
from server.states import misfit

NOT_REACHED = "This cannot be told before Label Studio is reached and its token accepted."
CONNECTED = "CO"
"""The state of an ML backend that has just answered Label Studio."""
ADD = "In Label Studio open the project's Settings > Model > Connect Model, and give the address of this backend."

REACH = (
    "See that this backend runs, and that Label Studio's machine reaches it under that address (in a container, "
    "localhost is the container itself). Label Studio refuses private addresses unless it is started with "
    "USE_DEFAULT_BANNED_SUBNETS=false."
)


class Verdict(NamedTuple):
    """What a check comes to; see `server.checks.Check`."""

    ok: bool | None
    text: str
    remedy: str | None = None
    mendable: bool = False


@dataclass(frozen=True)
class Known:
    """A project as it is here, and what Label Studio answers of it."""

    project: Project
    version: str
    """The one in use."""
    versions: set[str]
    """All that the project has had."""
    settings: Settings
    answers: Mapping[str, Any]
    """By the client's method; a LabelStudioError where it gave none, nothing at all where it was not reached."""

    def needs(self, *names: str) -> Verdict | None:
        """None when all of these answers are there, else what keeps a check from being told."""
        for name in names:
            if name not in self.answers:
                return Verdict(None, NOT_REACHED)
            if isinstance(answer := self.answers[name], Exception):
                return Verdict(None, f"This cannot be told: {str(answer).rstrip('.')}.")
        return None

    @property
    def backend(self) -> dict[str, Any] | None:
        """The connection that is ours, as far as can be told: the one that answers with a version of ours."""
        listed = self.answers["ml_backends"]
        ours = [backend for backend in listed if backend["model_version"] in self.versions]
        return next(iter([*ours, *listed]), None)


def project_is_there(known: Known) -> Verdict:
    answer: Any = known.answers.get("project")
    id = known.project.external_id
    anew = "Check that LABEL_STUDIO_URL is the Label Studio that this project is in; if it is, connect its successor."
    if isinstance(answer, Refused) and answer.status == 404:
        return Verdict(False, f"Label Studio has no project {id}, or its token's user cannot see it.", anew)
    if unknown := known.needs("project"):
        return unknown
    birth = known.project.key.partition(".")[2]
    if birth and project_key({"id": id, "created_at": answer.created_at}) != known.project.key:
        return Verdict(False, f"Label Studio's project {id} is another one: it was made at another time.", anew)
    return Verdict(True, f"It is project {id}, “{answer.title}”.")


def backend_is_connected(known: Known) -> Verdict:
    if unknown := known.needs("ml_backends"):
        return unknown
    listed, ours = known.answers["ml_backends"], known.backend
    if ours is None:
        return Verdict(False, "The project has no ML backend any more: it asks nobody for pre-annotations.", ADD)
    at = f"“{ours['title']}” at {ours['url']}"
    if ours["state"] != CONNECTED:
        said = f": {ours['error_message'].rstrip('.')}" if ours["error_message"] else ""
        return Verdict(False, f"Label Studio gets no usable answer from {at}{said}.", REACH)
    if ours["model_version"] not in known.versions:
        text = f"{at} answers with version {ours['model_version']!r}, which is none of ours: another backend is there."
        return Verdict(
            False, text, "In the project's Settings > Model, edit the connection: give this backend's address."
        )
    if len(listed) > 1:
        text = f"{len(listed)} ML backends are connected: {', '.join(b['url'] for b in listed)}. Ours is {at}."
        remedy = "Remove the others in the project's Settings > Model: their predictions take the place of ours."
        return Verdict(False, text, remedy)
    return Verdict(True, f"{at} answers Label Studio with version {ours['model_version']}.")


def webhook_is_there(known: Known) -> Verdict:
    if unknown := known.needs("webhooks", "ml_backends"):
        return unknown
    if known.backend is None or known.backend["model_version"] not in known.versions:
        return Verdict(None, "This cannot be told before this backend is connected.")
    url = webhooks.url_of(known.backend)
    ours: Webhook | None = next((webhook for webhook in known.answers["webhooks"] if webhook.url == url), None)
    remedy = "Add or mend it in the project's Settings > Webhooks: active, with payload, for all events."
    what = f"Label Studio does not tell {url} what annotators do"
    if ours is None:
        return Verdict(False, f"{what}: the webhook was deleted.", remedy, mendable=True)
    if not ours.active:
        return Verdict(False, f"{what}: the webhook is switched off.", remedy, mendable=True)
    if not ours.whole:
        return Verdict(False, f"{what} in full: the webhook lacks events or their payload.", remedy, mendable=True)
    if webhooks.headers(known.settings) and not webhooks.carry_secret(ours.headers, known.settings):
        text = f"What Label Studio tells {url} is refused: the webhook lacks the secret of the present password."
        remedy = "Give it the header that `python -m server.webhooks` prints, in the project's Settings > Webhooks."
        return Verdict(False, text, remedy, mendable=True)
    return Verdict(True, f"Label Studio tells {url} of everything.")


def _mend_webhook(client: LabelStudio, known: Known) -> None:
    if known.backend:
        url = webhooks.url_of(known.backend)
        client.ensure_webhook(known.project.external_id, url, webhooks.headers(known.settings))


def config_is_understood(known: Known) -> Verdict:
    answer = known.answers.get("project")
    config = answer.label_config if isinstance(answer, ProjectRecord) else known.project.label_config
    settings, _ = known.settings.in_force(known.project.extra_params, partial(kinds_of, known.project.label_config))
    try:
        schema = read_schema(config, settings.control)
    except UnsupportedConfig as error:
        remedy = "Correct it in the project's Settings > Labeling Interface, or set the backend's `control`."
        return Verdict(False, str(error), remedy)
    return Verdict(True, " ".join(_learned(schema)))


def _learned(schema: Schema) -> Iterator[str]:
    """What is learned of a text, a sentence each."""
    if schema.control:
        yield f"“{schema.control}” marks spans of “{schema.object}” with {_count(schema.labels)}."
    if schema.relations is not None:
        yield f"Relations between these spans have {_count(schema.relations)}."
    if schema.choices is not None:
        many = "any number" if schema.choices.multiple else "one"
        yield f"“{schema.choices.control}” gives “{schema.object}” {many} of {_count(schema.choices.labels)}."


def _count(labels: Sequence[str]) -> str:
    return f"{len(labels)} label{'s' if len(labels) != 1 else ''}"


def settings_fit(known: Known) -> Verdict:
    settings, fault = known.settings.in_force(known.project.extra_params, partial(kinds_of, known.project.label_config))
    with suppress(UnsupportedConfig):  # which is another check's concern
        fault = fault or misfit(settings, read_schema(known.project.label_config, settings.control))
    if fault:
        return Verdict(False, f"{fault[0].upper()}{fault[1:]}.", "Correct them on this page or in the connection form.")
    return Verdict(True, "Model and strategy fit each other.")


def sampling_is_uncertainty(known: Known) -> Verdict:
    if unknown := known.needs("project"):
        return unknown
    sampling = known.answers["project"].sampling
    if sampling == UNCERTAINTY_SAMPLING:
        return Verdict(True, "Tasks are served by the scores that this backend gives.")
    remedy = "Set Settings > Annotation > Task Sampling to “Uncertainty sampling”."
    return Verdict(False, f"Tasks are served by “{sampling}”, whatever their scores.", remedy, mendable=True)


def version_is_followed(known: Known) -> Verdict:
    if known.version == UNTRAINED:
        return Verdict(None, "There is no version yet: the first round publishes one.")
    if unknown := known.needs("project"):
        return unknown
    theirs = known.answers["project"].model_version
    if theirs == known.version:
        return Verdict(True, f"The queue follows {known.version}, the version in use.")
    text = f"The queue follows {theirs!r}" if theirs else "The queue follows no version"
    text += f", but {known.version} is in use: its order is not served."
    if unknown := known.needs("model_versions"):
        return Verdict(False, text, f"Then Label Studio must be told to follow {known.version}; try again later.")
    if known.version not in known.answers["model_versions"]:
        what = f"Label Studio holds no prediction of {known.version}: start a round, which publishes anew."
        return Verdict(False, text, what)
    remedy = f"Choose {known.version} in the project's Settings > Predictions (or Annotation > Prelabeling)."
    return Verdict(False, text, remedy, mendable=True)


def one_annotator_a_task(known: Known) -> Verdict:
    if unknown := known.needs("project"):
        return unknown
    several = known.answers["project"].maximum_annotations
    if several <= 1:
        return Verdict(True, "Each task is annotated once.")
    remedy = (
        f"Set `maximum_annotations` to 1 (Settings > Annotation, or the API); or open the tab “{QUEUE_TAB}” and choose "
        "“Label Tasks As Displayed”, which keeps the order for any number of annotators."
    )
    return Verdict(False, f"Each task is annotated {several} times, and begun ones come first, at random.", remedy)


def tab_is_there(known: Known) -> Verdict:
    if unknown := known.needs("tab"):
        return unknown
    if known.answers["tab"] is not None:
        return Verdict(True, f"The Data Manager has the tab “{QUEUE_TAB}”.")
    remedy = "Make it again; until then only “Label All Tasks” follows the order."
    return Verdict(False, f"The Data Manager has no tab “{QUEUE_TAB}”, which shows the queue.", remedy, mendable=True)


JUDGEMENTS: list[tuple[str, str, Callable[[Known], Verdict]]] = [
    ("project", "The project is there", project_is_there),
    ("backend", "This backend is connected", backend_is_connected),
    ("webhook", "Label Studio tells what happens", webhook_is_there),
    ("label_config", "The label config can be learned from", config_is_understood),
    ("settings", "The settings fit", settings_fit),
    ("sampling", "Tasks are served by score", sampling_is_uncertainty),
    ("model_version", "The queue follows the version in use", version_is_followed),
    ("overlap", "Each task is annotated once", one_annotator_a_task),
    ("tab", "The queue has its tab", tab_is_there),
]
"""Name, title and function of each check of a project, in the order in which they are shown."""

MENDABLE: dict[str, Callable[[LabelStudio, Known], Any]] = {
    "webhook": _mend_webhook,
    "sampling": lambda client, known: client.set_sampling(known.project.external_id, UNCERTAINTY_SAMPLING),
    "model_version": lambda client, known: client.set_model_version(known.project.external_id, known.version),
    "tab": lambda client, known: client.ensure_tab(known.project.external_id),
}
"""What is set in Label Studio when people ask for it."""
