"""What every sampler owes the search; each runs through the same tests."""

import fake_search
import optuna
import pytest

from nas.reward import Reward
from nas.samplers import SAMPLER_NAMES, make_sampler
from nas.samplers.problem import Problem
from nas.trials import distributions
from search_spaces.space_file import space_from_mapping

SPACE = space_from_mapping(fake_search.SPACE)
DISTRIBUTIONS = distributions(SPACE)
PROBLEM = Problem(space=SPACE, seed=0, reward=Reward(step_time_ref_s=1.0, params_ref=1), costs=None)


def play(name: str, trials: int, seed: int = 0, direction: str = "maximize") -> optuna.Study:
    """A search for many layers in stage 1, with a fresh sampler for each proposal."""
    study = optuna.create_study(direction=direction)
    for index in range(trials):
        study.sampler = make_sampler(name, PROBLEM)(1000 * seed + index)
        trial = study.ask(DISTRIBUTIONS)
        study.tell(trial, trial.params["stage1_num_repeats"] + 0.1 * (trial.params["stage2_expand_ratio"] == 4))
    return study


def proposals(study: optuna.Study) -> list[dict[str, object]]:
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLER_NAMES)
class TestSampler:
    def test_every_proposal_is_a_member(self, name: str) -> None:
        assert all(SPACE.contains(SPACE.from_params(params)) for params in proposals(play(name, 30)))

    def test_the_same_seeds_give_the_same_proposals(self, name: str) -> None:
        assert proposals(play(name, 30, seed=1)) == proposals(play(name, 30, seed=1))
        assert proposals(play(name, 30, seed=1)) != proposals(play(name, 30, seed=2))

    def test_the_state_is_in_the_study_alone(self, name: str) -> None:
        """A copy of the study, as after a restart, gets the same next proposal."""
        study = play(name, 25)
        copy = optuna.create_study(direction="maximize")
        copy.add_trials(study.trials)
        following = []
        for each in (study, copy):
            each.sampler = make_sampler(name, PROBLEM)(99)
            following.append(each.ask(DISTRIBUTIONS).params)
        assert following[0] == following[1]


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_what_learns_beats_chance(name: str) -> None:
    """Half of a late stretch in the best third of the space, where chance gives a third."""
    trials = 150
    hits = sum(
        params["stage1_num_repeats"] == 3
        for seed in range(3)
        for params in proposals(play(name, trials, seed=seed))[-50:]
    )
    assert hits > 75, f"{hits} of 150"


def test_the_known_space_is_what_optuna_would_have_found() -> None:
    """The wrapped sampler proposes as the bare one does."""
    bare = optuna.create_study(direction="maximize")
    for index in range(30):
        bare.sampler = optuna.samplers.TPESampler(seed=index)
        trial = bare.ask(DISTRIBUTIONS)
        bare.tell(trial, trial.params["stage1_num_repeats"] + 0.1 * (trial.params["stage2_expand_ratio"] == 4))
    assert proposals(bare) == proposals(play("tpe", 30))
