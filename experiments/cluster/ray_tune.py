"""The quick start's search under Ray Tune, on real images: ASHA on top of our sampler, or population based training.

    python experiments/cluster/ray_tune.py            # ASHA: 12 candidates, the poor ones end after an epoch or two
    python experiments/cluster/ray_tune.py --pbt      # a population of 4, whose learning rates change on the way

A few minutes on two cores. Ray listens on all interfaces of a machine: elsewhere than on a trusted network, and on
Linux, put ``unshare -rn sh -c 'ip link set lo up; exec …'`` around it.
"""

import argparse
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining

from nas.config import SearchConfig, read_config
from nas.ray_tune import Prepared, SamplerSearch, param_space, prepare, trainable

RECIPE = Path(__file__).parents[1] / "quickstart.yaml"
LEARNING_RATE = tune.loguniform(0.004, 0.064)


def asha(prepared: Prepared, places: int) -> tune.TuneConfig:
    """Our sampler proposes candidates, ASHA ends the poorer half of them at each of its rungs."""
    config = prepared.config
    scheduler = ASHAScheduler(max_t=config.fidelity.epochs, grace_period=1, reduction_factor=2)
    return tune.TuneConfig(
        metric="reward",
        mode="max",
        search_alg=SamplerSearch(prepared),
        scheduler=scheduler,
        num_samples=config.trials,
        max_concurrent_trials=places,
        reuse_actors=True,  # a process keeps its images from trial to trial
    )


def population(num_samples: int) -> tune.TuneConfig:
    """The poorer half becomes the better half, checkpoint and all, and goes on with other learning rates.

    In step (``synch``), since there are more trials than places: else one that has just become another may be behind
    it for ever.
    """
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        quantile_fraction=0.5,
        hyperparam_mutations={"lr": LEARNING_RATE},
        synch=True,
    )
    return tune.TuneConfig(metric="reward", mode="max", scheduler=scheduler, num_samples=num_samples, reuse_actors=True)


def search(config: SearchConfig, *, by_population: bool, places: int, out: Path) -> tune.ResultGrid:
    """Measure once, then let Tune lead.

    Args:
        config: What is searched.
        by_population: Whether by population based training instead of ASHA.
        places: Trials at once.
        out: Folder of what Tune keeps.
    """
    prepared = prepare(config, report=lambda fraction, doing, found=None: print(f"preparing: {doing}"))
    tuner = tune.Tuner(
        tune.with_resources(trainable(prepared), {"cpu": 1}),
        param_space={**param_space(config), "lr": LEARNING_RATE} if by_population else {},
        tune_config=population(config.trials) if by_population else asha(prepared, places),
        run_config=tune.RunConfig(
            name="pbt" if by_population else "asha",
            storage_path=str(out.absolute()),
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            verbose=0,
        ),
    )
    return tuner.fit()


def main() -> None:
    parser = argparse.ArgumentParser(description="A search under Ray Tune.")
    parser.add_argument("--pbt", action="store_true", help="population based training instead of ASHA")
    parser.add_argument("--trials", type=int, help="candidates; by default 12, or a population of 4")
    parser.add_argument("--places", type=int, default=2, help="trials at once")
    parser.add_argument("--address", help="of a Ray cluster; by default one of this machine alone")
    parser.add_argument("--out", type=Path, default=Path("runs/ray_tune"), help="folder of what Tune keeps")
    args = parser.parse_args()
    trials = args.trials or (4 if args.pbt else 12)
    config = read_config(RECIPE, {"trials": trials, "step_time.calibration_s": 5.0})
    if args.address:
        ray.init(address=args.address)
    else:
        ray.init(num_cpus=args.places, include_dashboard=False, log_to_driver=False)
    found = search(config, by_population=args.pbt, places=args.places, out=args.out)
    columns = ["reward", "accuracy", "step_time_s", "params", "training_iteration", "infeasible", "architecture"]
    frame = found.get_dataframe().sort_values("reward", ascending=False)
    print(frame[columns].to_string(index=False))
    print(f"best: {found.get_best_result().metrics['architecture']}")


if __name__ == "__main__":
    main()
