"""Signals: which raise at once, which wait for a step, and what counts as an interrupt."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from harness.launch import signals
from harness.launch.signals import Preempted, installed, preempted, saving, was_interrupt


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in signals.ANNOUNCED}
    with installed():  # also where the tests themselves run under nohup
        yield
    for number, handler in before.items():
        signal.signal(number, handler)


def tell(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python runs handlers between two instructions


@pytest.mark.parametrize("number", signals.ANNOUNCED)
def test_outside_training_a_signal_stops_at_once(number: int) -> None:
    with pytest.raises(Preempted, match=f"stopped by {signal.Signals(number).name}"):
        tell(number)


def test_in_training_the_first_waits_and_a_later_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with saving():
        assert not preempted()
        tell(signal.SIGTERM)
        tell(signal.SIGTERM)  # the launcher's copy of the same
        assert preempted()
        monkeypatch.setattr(signals, "SAME", 0.0)
        with pytest.raises(Preempted):
            tell(signal.SIGTERM)


def test_ctrl_c_never_waits() -> None:
    with saving(), pytest.raises(KeyboardInterrupt):
        tell(signal.SIGINT)


def test_a_step_that_outlasts_the_grace_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "STEP_GRACE", 0.3)
    monkeypatch.setattr(signals, "SAME", 0.1)
    began = time.monotonic()
    with saving(), pytest.raises(KeyboardInterrupt):
        tell(signal.SIGUSR2)
        time.sleep(20)
    assert 0.3 < time.monotonic() - began < 5


def test_an_ignored_signal_stays_ignored_and_handlers_are_put_back() -> None:
    """A command under nohup goes on when its terminal closes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with installed():
        tell(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is signals._told
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)


def test_an_interrupt_is_known_behind_another_error() -> None:
    """As Python 3.11 raises it when a signal strikes while a class body is read."""
    wrapped = RuntimeError("Error calling __set_name__")
    wrapped.__cause__ = KeyboardInterrupt()
    assert was_interrupt(wrapped) and was_interrupt(Preempted()) and not was_interrupt(RuntimeError("no"))
    later = ValueError("while cleaning up")
    later.__context__ = wrapped
    assert was_interrupt(later)
