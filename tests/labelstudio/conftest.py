"""Lends the end-to-end tests' Label Studio to the tests of the client."""

from tests.end_to_end.conftest import label_studio

__all__ = ["label_studio"]
