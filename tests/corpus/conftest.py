"""Property tests draw the same examples in every run, and no deadline fails them on a busy machine."""

from hypothesis import settings

settings.register_profile("corpus", deadline=None, derandomize=True)
settings.load_profile("corpus")
