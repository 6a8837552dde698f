"""The machines of a cluster: what each is, how fast its canary, and what was trained there."""

import statistics
from collections import Counter

from ..quantities import milliseconds
from .findings import Findings
from .markup import Markup, element, section, table

DRIFT = 0.05
"""From which on a canary is called slow or fast: two looks at one quiet machine differ by less."""


def machines_section(findings: Findings) -> Markup:
    """One row for each machine; nothing where one machine did everything."""
    machines = {machine.place: machine for machine in findings.run.machines}
    trained = Counter(record.outcome.where for record in findings.complete if record.outcome and record.outcome.where)
    places = sorted({*machines, *trained})
    if len(places) < 2:
        return Markup("")
    typical = _typical_canary(findings)
    rows = []
    for place in places:
        machine = machines.get(place)
        canary_s = machine.canary_s if machine else None
        rows.append(
            (
                place,
                machine.device if machine else "joined later",
                milliseconds(canary_s) if canary_s else "–",
                f"{canary_s / typical[machine.hardware]:.2f} ×" if machine and canary_s else "–",
                str(trained[place]),
            )
        )
    note = (
        "The canary is the same small network everywhere, timed alone in plain float32 when the search was last "
        "started, beside the median of machines of the same hardware. S does not depend on where a candidate was "
        "trained: it is that of the machines whose step time counts."
    )
    return section(
        "machines",
        "Machines",
        element("p", note),
        *(element("p", line) for line in _drift(findings)),
        table(("machine", "device", "canary", "beside its like", "trials"), rows, numeric=(2, 3, 4)),
    )


def _typical_canary(findings: Findings) -> dict[str, float]:
    """Seconds of the canary by hardware, the median over machines."""
    known: dict[str, list[float]] = {}
    for machine in findings.run.machines:
        if machine.canary_s is not None:
            known.setdefault(machine.hardware, []).append(machine.canary_s)
    return {hardware: statistics.median(seconds) for hardware, seconds in known.items()}


def _drift(findings: Findings) -> list[str]:
    """Machines that are not what their like are, in plain words."""
    typical = _typical_canary(findings)
    off = {
        machine.place: machine.canary_s / typical[machine.hardware] - 1
        for machine in findings.run.machines
        if machine.canary_s is not None
    }
    return [
        f"{place} is {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} than its like: look for other jobs there, "
        "heat, or a lower clock."
        for place, drift in off.items()
        if abs(drift) > DRIFT
    ]
