"""Requests to stop: the first signal is a question, the second acts, and afterwards all is as it was."""

import os
import signal
import threading

import pytest

from nas.interruption import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop_requested:
        assert not stop_requested()
        os.kill(os.getpid(), number)
        assert stop_requested()
        assert signal.getsignal(number) == before, "the second one acts as it would without us"
    assert signal.getsignal(number) == before


def test_the_second_one_interrupts() -> None:
    with stop_on_signals() as stop_requested:
        signal.raise_signal(signal.SIGINT)
        assert stop_requested()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_come_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match=r"^work went wrong$"), stop_on_signals():
        raise ValueError("work went wrong")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_elsewhere_than_in_the_main_thread_nothing_is_handled() -> None:
    """Python lets only the main thread set handlers."""
    found: list[object] = []

    def work() -> None:
        with stop_on_signals() as stop_requested:
            found.extend([stop_requested(), signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, signal.getsignal(signal.SIGINT)]
