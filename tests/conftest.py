"""For all tests."""

import taggers  # noqa: F401  (before anything imports torch: see OMP_WAIT_POLICY there)
