"""Tests of drivers, and the contract suite that they share."""

import pytest

# Before anything imports them, so that a broken promise shows both sides of its comparison.
pytest.register_assert_rewrite(
    *(f"{__name__}.contract{part}" for part in ("", "_ground", "_growing", "_machines", "_pruning", "_reading"))
)
