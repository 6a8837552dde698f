"""A promoted training goes on from its checkpoint, in processes of this machine."""

from pathlib import Path

import pytest
from pruned_trainings import require_the_very_training


@pytest.mark.slow
def test_a_promoted_training_comes_to_what_one_comes_to_that_nobody_stopped(tmp_path: Path) -> None:
    require_the_very_training(tmp_path / "run")
