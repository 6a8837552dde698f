"""How quantities are written for people: in reports, tables and on the command line."""

import math

from .leaderboard import Entry

_SI = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(fraction: float, error: float | None = None) -> str:
    """A fraction as a percentage, with its standard error where there is one.

    >>> percent(0.9612, 0.0114)
    '96.1 ± 1.1 %'
    """
    decimals = 1 if error is None or error >= 0.001 else 2
    shown = f"{100 * fraction:.{decimals}f}"
    return f"{shown} %" if error is None else f"{shown} ± {100 * error:.{decimals}f} %"


def milliseconds(seconds: float, error_s: float | None = None) -> str:
    """Seconds as milliseconds, to the first digit of the error, or the second where the first is 1.

    >>> milliseconds(0.01234, 0.00014), milliseconds(0.01234, 0.00021)
    ('12.34 ± 0.14 ms', '12.3 ± 0.2 ms')
    >>> milliseconds(1.5)
    '1500 ms'
    """
    value = 1000 * seconds
    if error_s is None or error_s <= 0:
        return f"{_significant(value, 4)} ms"
    magnitude = math.floor(math.log10(1000 * error_s))
    starts_with_1 = 1000 * error_s < 1.95 * 10**magnitude
    decimals = min(4, max(0, starts_with_1 - magnitude))
    return f"{value:.{decimals}f} ± {1000 * error_s:.{decimals}f} ms"


def step_time_text(entry: Entry) -> str:
    """S with its error, marked ≈ where it is not measured but predicted."""
    mark = "" if entry.is_step_time_measured else "≈ "
    return mark + milliseconds(entry.step_time_s, entry.step_time_se)


def gibibytes(size: float) -> str:
    """Bytes as GiB, or as MiB where that is less than a tenth.

    >>> gibibytes(3 * 2**30), gibibytes(9_322_102)
    ('3.00 GiB', '8.89 MiB')
    """
    gib = size / 2**30
    return f"{_significant(gib, 3)} GiB" if gib >= 0.1 else f"{_significant(1024 * gib, 3)} MiB"


def count(number: float) -> str:
    """A large count with its SI prefix and three digits.

    >>> [count(number) for number in (942, 41_234, 21_458_488, 5_307_561_248)]
    ['942', '41.2 k', '21.5 M', '5.31 G']
    """
    for size, prefix in _SI:
        if number >= 0.9995 * size:
            return f"{_significant(number / size, 3)} {prefix}"
    return f"{number:g}"


def duration(seconds: float) -> str:
    """A time span in its two largest units.

    >>> [duration(seconds) for seconds in (4.21, 75, 7_322)]
    ['4.2 s', '1 min 15 s', '2 h 2 min']
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def reward_text(reward: float, error: float | None = None) -> str:
    """A reward to four digits, with its standard error where there is one.

    >>> reward_text(0.98123, 0.0112)
    '0.9812 ± 0.0112'
    """
    return f"{reward:.4f}" if error is None else f"{reward:.4f} ± {error:.4f}"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{rounded:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"
