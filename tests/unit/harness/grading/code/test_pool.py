"""Programs against tests: what passes, what fails and why, and what is left between two programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.grading.code import limits, pool
from harness.grading.code.confine import Refused
from harness.grading.code.pool import Suite, run_tests

DOUBLE = "def f(x):\n    return 2 * x\n"


def run(program: str, *tests: str, setup: str = "", entry_point: str = "f") -> list[str]:
    return run_tests(program, Suite(entry_point, tests, setup))


def test_each_test_has_an_outcome_of_its_own() -> None:
    found = run(
        DOUBLE, "assert f(2) == 4", "assert f(2) == 5", "f()", "assert f('ab') == 'abab'", "1/0", "x ="
    )
    assert found == ["passed", "AssertionError", "TypeError", "passed", "ZeroDivisionError", "SyntaxError"]


def test_types_count_as_in_python() -> None:
    program = "def f(x):\n    return [(1, 2), {3: {4}}, 'a', b'b', None, 1.5, True][x]\n"
    assert run(
        program,
        "assert f(0) == (1, 2) and type(f(0)) is tuple",
        "assert f(0) == [1, 2]",
        "assert f(1) == {3: {4}}",
        "assert f(2) == 'a' and f(3) == b'b' and f(4) is None and f(5) == 1.5 and f(6) is True",
    ) == ["passed", "AssertionError", "passed", "passed"]


def test_arguments_of_every_kind_reach_the_program() -> None:
    program = "def f(a, *rest, key=0, **more):\n    return [a, list(rest), key, sorted(more)]\n"
    assert run(program, "assert f((1,), {2}, key='k', z=1) == [(1,), [{2}], 'k', ['z']]") == ["passed"]


def test_a_test_may_use_what_else_the_program_defines() -> None:
    program = "def g(x):\n    return x + 1\ndef f(x):\n    return g(x)\n"
    assert run(program, "assert g(1) == f(1) == 2") == ["passed"]


def test_setup_is_the_tests_own() -> None:
    """A helper that the tests stand on is theirs, even where the program defines one of that name."""
    setup = "def close(a, b):\n    return abs(a - b) < 1e-6\n"
    cheat = "def f(x):\n    return 0\ndef close(a, b):\n    return True\n"
    assert run(cheat, "assert close(f(2), 4)", setup=setup) == ["AssertionError"]
    assert run(cheat, "assert close(f(2), 4)") == ["passed"]  # without a setup it is the program's


def test_the_entry_point_is_the_programs_even_if_the_setup_has_one() -> None:
    setup = "def f(x):\n    '''Give twice x.'''\n"
    assert run(DOUBLE, "assert f(3) == 6", setup=setup) == ["passed"]


def test_a_program_keeps_its_state_between_tests_and_loses_it_after() -> None:
    counter = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\n"
    assert run(counter, "assert f() == 1", "assert f() == 2") == ["passed", "passed"]
    assert run(counter, "assert f() == 1") == ["passed"]


def test_a_program_that_dies_in_one_test_is_started_again_for_the_next() -> None:
    program = "import os\ndef f(x):\n    if x == 0: os._exit(1)\n    return x\n"
    assert run(program, "assert f(1) == 1", "f(0)", "assert f(2) == 2") == [
        "passed",
        "RuntimeError",
        "passed",
    ]
    often = run(program, *["f(0)"] * limits.MAX_STARTS, "assert f(2) == 2")
    assert often == ["RuntimeError"] * (limits.MAX_STARTS + 1)


def test_errors_of_the_program_are_errors_of_its_test() -> None:
    assert run("def f(x):\n    raise KeyError(x)\n", "f(1)") == ["KeyError"]
    caught = "try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError\n"
    assert run("def f(x):\n    raise ValueError\n", caught) == ["passed"]
    assert run("def f(x):\n    return [\n", "f(1)") == ["NameError"]
    assert run("", "f(1)") == ["KeyError"]


def test_random_numbers_and_hashes_are_the_same_each_time() -> None:
    program = (
        "import random\nx = random.random()\ndef f():\n    return [x, hash('a'), list({'y', 'z', 'w'})]\n"
    )
    said = "raise type(str(f()), (Exception,), {})"
    servers = [pool._Server(), pool._Server()]
    found = {one.run(program, Suite("f", (said,)))[0] for one in servers * 2}
    for one in servers:
        one.end()
    assert len(found) == 1 and "[0.84" in found.pop()  # random.Random(0).random() is 0.8444...


def test_many_threads_get_their_own_answers() -> None:
    def one(k: int) -> list[str]:
        return run(f"def f():\n    return {k}\n", f"assert f() == {k}", f"assert f() == {k + 1}")

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(40))) == [["passed", "AssertionError"]] * 40


def test_a_large_argument_does_not_block_a_program_that_never_reads() -> None:
    """More than a pipe holds, to a program that is busy: the watcher gives up, it does not wait for ever."""
    program = "import os\ndef f(x):\n    return len(x)\n"
    assert run(program, "assert f('a' * 500_000) == 500_000") == ["passed"]
    deaf = "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n"
    assert run(deaf, "f('a' * 500_000)") == ["RuntimeError"]


def test_a_lost_server_costs_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pool._Server()
    timer = threading.Timer(0.3, server.end)
    timer.start()
    with pytest.raises(OSError):
        server.run("def f():\n    while True: pass\n", Suite("f", ("f()",)))
    timer.join()
    monkeypatch.setattr(pool, "_pools", [])
    monkeypatch.setattr(pool._Server, "run", lambda *_: (_ for _ in ()).throw(OSError()))
    assert run(DOUBLE, "assert f(1) == 2") == ["lost"]
    monkeypatch.undo()
    assert run(DOUBLE, "assert f(1) == 2") == ["passed"]


def test_a_server_that_was_interrupted_answers_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its late answer would be the next program's verdict."""
    wrong, right = "def f(x):\n    return x\n", DOUBLE
    monkeypatch.setattr(pool, "_pools", [])
    monkeypatch.setattr(pool, "WORKERS", 1)

    def interrupted(self: pool._Server, until: float) -> bytes:
        raise KeyboardInterrupt

    assert run(right, "assert f(1) == 2") == ["passed"]
    with monkeypatch.context() as patch:
        patch.setattr(pool._Server, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(right, "assert f(1) == 2")
    assert run(wrong, "assert f(1) == 2") == ["AssertionError"]


def test_servers_end_with_the_process_that_started_them() -> None:
    code = (
        "from harness.grading.code import pool\n"
        "assert pool.refusal() is None\n"
        "server = next(s for s in list(pool._pools[0].idle.queue) if s)\n"
        "print(server.process.pid, flush=True)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == -signal.SIGKILL
    server = int(found.stdout)
    for _ in range(100):
        try:
            os.kill(server, 0)
        except ProcessLookupError:
            return
        threading.Event().wait(0.1)
    raise AssertionError("the server outlives its owner")


NO_LIBRARY = (
    "import ctypes; real = ctypes.CDLL; "
    "ctypes.CDLL = lambda name, **k: (_ for _ in ()).throw(OSError()) if name else real(name, **k)"
)
NO_NAMESPACES = (
    "import harness.grading.code.confine as c; "
    "c._libc().unshare = lambda flags: (c.ctypes.set_errno(1), -1)[1]"
)


@pytest.mark.parametrize(("what", "broken"), [("libseccomp", NO_LIBRARY), ("user namespaces", NO_NAMESPACES)])
def test_a_machine_that_confines_nothing_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, what: str, broken: str
) -> None:
    monkeypatch.setattr(pool, "_pools", [])
    monkeypatch.setattr(pool, "_START", pool._START.replace("from harness", f"{broken}; from harness"))
    with pytest.raises(Refused, match=what):
        run(DOUBLE, "assert f(1) == 2")
