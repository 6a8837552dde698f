"""Images per second of our training, against loops that others would write: a plain one, and timm's.

Two copies of ours and of the peer's take turns in one process, so that the machine's drift meets all of them; what two
copies of one loop differ by is the noise (A/A). On a CPU all loops run on one thread, as a search's workers do, one per
core; a DataLoader's workers come on top.
"""

from typing import Annotated

import typer

from experiments.bench.options import Quick


def main(
    peers: Annotated[
        str, typer.Option(help="Comma-separated: plain (our short training beside it), timm (our full training).")
    ] = "plain,timm",
    mode: Annotated[
        str, typer.Option(help='Execution mode of timm\'s loop and ours beside it; "plain" asks for nothing.')
    ] = "float32-channels_last",
    quick: Quick = False,
) -> None:
    """Train the same networks on the same images with our loops and with others', in turn."""
    from nas.cli.errors import usage_errors

    from .asked import mode_of, peers_of

    with usage_errors():
        asked, execution = peers_of(peers), mode_of(mode)
    import torch

    torch.set_num_threads(1)
    if "plain" in asked:
        from .short_training import compare_short_training

        compare_short_training(quick=quick)
    if "timm" in asked:
        from .full_training import compare_full_training

        compare_full_training(mode=execution, quick=quick)
