"""What a process needs to work on projects: settings, database, models."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from learning.database import Database
from learning.faults import Storage
from learning.models import ModelStore
from learning.settings import Settings
from taggers import vector_store


@dataclass
class Workspace:
    """Opened once a process; the database and the model store are shared by its threads."""

    settings: Settings
    queue_lengths: dict[int, int] = field(default_factory=dict)
    """Of stored rounds, by id, as far as they were asked for; they do not change."""

    def __post_init__(self) -> None:
        self.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # texts and tokens: for its owner only
        vector_store.keep_in(self.settings.data_dir / "vectors")

    @cached_property
    def db(self) -> Database:
        """The database, its tables created."""
        if self.settings.database_url:
            return Database(self.settings.database_url)
        return Database.in_folder(self.settings.data_dir)

    @cached_property
    def storage(self) -> Storage:
        """Whether anything can be written now."""
        return Storage(self.db)

    @cached_property
    def models(self) -> ModelStore:
        """The stored models."""
        return ModelStore(self.settings.data_dir / "models")
