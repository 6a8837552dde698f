"""Step time: how well measurements repeat, and how well a calibrated table predicts what was not measured."""

from rich.progress import Progress

from experiments.bench.options import Quick
from nas.cli.console import table_console


def main(*, quick: Quick = False) -> None:
    """Print one table for each question."""
    from .networks import beds
    from .prediction import prediction_table, speed_table
    from .repeatability import contamination_table, repeatability_table

    repetitions, num_networks = (3, 10) if quick else (10, 40)
    console = table_console()
    with Progress(console=console, transient=True) as progress:
        console.print(speed_table())
        for is_beside_training in (False, True):
            table = repeatability_table(repetitions, is_beside_training=is_beside_training, progress=progress)
            console.print(table)
        console.print(contamination_table(max(2, repetitions // 4), progress))
        for number, _ in enumerate(beds()):
            console.print(prediction_table(number, num_networks, progress))
