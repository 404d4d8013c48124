"""What commands on a terminal have in common: the workspace and project they are about, and errors told in words."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from typer.core import TyperGroup

from labelstudio.errors import LabelStudioError
from learning import faults
from learning.database import Project
from learning.intake import find_project
from learning.migrations import UnusableDatabase
from learning.settings import Settings, in_words
from learning.workspace import Workspace

console = Console(highlight=False)

Named = Annotated[str, typer.Argument(metavar="PROJECT", help="A project's number in Label Studio, title or key.")]


class InWords(TyperGroup):
    """Errors that tell people something are told in words, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SQLAlchemyError as error:
            told = getattr(error, "orig", None) or type(error).__name__
            words = faults.known(error) or f"the database cannot be used: {told}"
        except (KeyError, IndexError):  # a mistake of ours, which no words explain
            raise
        except (ValueError, LookupError, OSError, UnusableDatabase, LabelStudioError) as error:
            words = str(error)
        Console(stderr=True, highlight=False).print(f"[red]Error:[/] {plain(words)}", soft_wrap=True)
        raise typer.Exit(2)


def open_workspace() -> Workspace:
    """Raises ValueError where the settings do not fit, or no backend has run with them yet."""
    settings = read_settings()
    if not settings.data_dir.is_dir():  # opening the workspace would make an empty one
        raise ValueError(
            f"there is no data folder {settings.data_dir.resolve()}: start the backend once (`python -m server`), "
            "or set DATA_DIR to the folder that it uses"
        )
    return Workspace(settings)


def read_settings() -> Settings:
    """Raises ValueError, in words, where they do not fit."""
    try:
        return Settings()
    except ValidationError as error:
        raise ValueError(f"Settings (environment or .env): {in_words(error)}") from None


def named_project(workspace: Workspace, name: str) -> Project:
    """By key, number or title. Raises LookupError, with what there is, unless it is exactly one."""
    with workspace.db.read() as session:
        if (known := find_project(session, name)) is not None:
            return known
        everything = list(session.scalars(select(Project).order_by(Project.id)))
    called = [one for one in everything if (one.title or "").casefold() == name.casefold()]
    if len(called) == 1:
        return called[0]
    listed = ", ".join(name_of({"id": one.external_id, "title": one.title}) for one in called or everything) or "none"
    what = "several projects are called" if called else "there is no project"
    raise LookupError(f"{what} {name!r}; known: {listed}")


def name_of(one: dict[str, Any]) -> str:
    """Of a project: its "id" and "title"."""
    return f"{one['id']} {one['title']}" if one["title"] else str(one["id"])


def plain(text: str) -> str:
    """Text from Label Studio as it is: neither Rich's markup nor a terminal's control characters."""
    return escape("".join(c if c.isprintable() else " " for c in text))
