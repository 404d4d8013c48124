"""What Label Studio sends to a backend about one project, made without a Label Studio.

Only the standard library, so that a load generator in a virtual environment of its own can use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
BORN = "2026-01-01T00:00:00.000000Z"
_SECOND = int(datetime.fromisoformat(BORN).timestamp())


@dataclass(frozen=True, slots=True)
class Calls:
    """Bodies of /setup, /predict and /webhook for the project of this id and these labels."""

    id: int
    labels: tuple[str, ...]

    @property
    def key(self) -> str:
        """What Label Studio calls the project."""
        return f"{self.id}.{_SECOND}"

    @property
    def config(self) -> str:
        """The label config."""
        labels = "".join(f'<Label value="{label}"/>' for label in self.labels)
        return f'<View><Labels name="label" toName="text">{labels}</Labels><Text name="text" value="$text"/></View>'

    def setup(self, extra_params: Json | None = None) -> Json:
        """The project is introduced, on connecting and whenever a task is opened."""
        told = {"hostname": "http://localhost:8080", "access_token": "none", "extra_params": extra_params or {}}
        return {"project": self.key, "schema": self.config, **told}

    def task(self, id: int, text: str) -> Json:
        """A task."""
        return {"id": id, "data": {"text": text}, "created_at": BORN, "updated_at": BORN, "project": self.id}

    def predict(self, tasks: Sequence[Json]) -> Json:
        """Predictions of tasks are wanted."""
        params = {"login": None, "password": None, "context": None}
        return {"tasks": tasks, "project": self.key, "label_config": self.config, "params": params}

    def event(self, action: str, **payload: Any) -> Json:
        """A webhook."""
        project = {"id": self.id, "created_at": BORN, "label_config": self.config, "title": f"project {self.id}"}
        return {"action": action, "project": project, **payload}

    def submitted(
        self, id: int, task: Json, spans: Iterable[Sequence[Any]], action: str = "ANNOTATION_CREATED"
    ) -> Json:
        """The webhook of an annotation with these spans: (start, end, label)."""
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        result = [
            {
                "id": f"r{n}",
                "from_name": "label",
                "to_name": "text",
                "type": "labels",
                "value": {"start": start, "end": end, "text": task["data"]["text"][start:end], "labels": [label]},
            }
            for n, (start, end, label) in enumerate(spans)
        ]
        annotation: Mapping[str, Any] = {
            "id": id,
            "task": task["id"],
            "project": self.id,
            "completed_by": 1,
            "result": result,
            "created_at": BORN,
            "updated_at": at,
            "was_cancelled": False,
            "ground_truth": False,
        }
        return self.event(action, annotation=annotation, task=task)
