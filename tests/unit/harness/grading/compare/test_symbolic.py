"""The killable worker: what it decides, what may reach the evaluating parser, and how it dies."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from harness.grading.compare import symbolic
from harness.grading.compare.symbolic import compare, screen, to_latex, worker_stats
from harness.grading.compare.workers import Limits, Pool, Worker
from harness.grading.grade import equivalent, grade

LIMITS = Limits(wall_s=6.0, cpu_s=1.0)
RESTART_S = 15.0  # importing sympy on a busy machine


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A pool of one worker with a short limit in place of the module's."""
    pool = Pool(Limits(wall_s=LIMITS.wall_s, cpu_s=LIMITS.cpu_s, max_workers=1))
    monkeypatch.setattr(symbolic, "_pool", pool)
    compare.cache_clear()
    yield pool
    pool.close()
    compare.cache_clear()


@pytest.mark.parametrize(
    ("reference", "answer", "equal"),
    [
        ("25", "5^2", True),
        ("25", r"\binom{7}{2} + 4", True),  # 21 + 4
        ("25", "a + b = 25", True),
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        (r"7\pi", "7*pi", True),
        ("x+1", "1+x", True),
        ("x^2-1", "(x-1)(x+1)", True),
        ("(1, 1/2)", "(1,0.5)", True),
        (r"\{1,2\}", r"\{2,1\}", True),
        (r"1 \text{ or } 2", "2, 1", True),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}", True),
        ("x<3", r"(-\infty,3)", True),  # gold first:
        (r"(-\infty,3)", "x<3", True),  # math-verify says no to this order, and is asked the other
        (r"(-\infty,3)", "x<4", False),
        ("25", "2 5", False),
        (r"2\sqrt{3}", r"\sqrt{13}", False),
        ("(1,2)", "(2,1)", False),
        ("12", "1,2", False),  # a list, not a thousands separator
        ("1/0", "1", False),
        ("25", r"\frac{25}{0}", False),
    ],
)
def test_math_verify_decides(reference: str, answer: str, equal: bool) -> None:
    assert equivalent(reference, answer) is equal


@pytest.mark.parametrize(
    "latex",
    [
        "__import__('os')",
        "x.__class__",
        "x.real",
        'open("f")',
        "x; import os`id`",
        "\\input{/etc/passwd}",
        "\\write18{id}",
        "\\def\\x{\\x\\x}",
        "lambda: 0",
        "exec",
        "25\x00",
        "２５ é",
        "1" * 41,
        "(" * 9,
        "1+" * 151,
        "",
    ],
)
def test_the_screen_refuses(latex: str) -> None:
    assert screen(latex) is not None


# Fragments that hurt graders: code, control characters, nesting, malformed LaTeX.
HOSTILE = [
    *(
        "__import__",
        "('os')",
        ".system",
        "eval(",
        "lambda x:",
        "x.__class__",
        '"',
        "'",
        "`",
        "\\x00",
        "os",
        "S",
    ),
    *("\x00", "\x1b", "\u202e", "\ud7ff", "𝟐", "\n", "\t", "$", "$$", "%", "#", "&", "~", "@", "_", "__"),
    *(
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "\\left(",
        "\\right)",
        "\\\\",
        "\\",
        "|",
        "!",
        "'",
        ";",
        ":",
    ),
    *(
        "\\frac{",
        "\\frac",
        "\\sqrt{",
        "\\sqrt[",
        "\\binom{",
        "\\text{",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
    ),
    *(
        "\\sum_{i=1}^",
        "\\int",
        "\\lim",
        "\\input{",
        "\\infty",
        "\\pi",
        "\\sin",
        "\\log_",
        "\\boxed{",
        "\\pm",
    ),
    *(
        "1",
        "2",
        "7",
        "25",
        "0",
        ".",
        ",",
        "=",
        "<",
        "+",
        "-",
        "*",
        "/",
        "^",
        "x",
        "y",
        "e",
        "i",
        "mod",
        "E1",
    ),
]


def _hostile(rng: random.Random) -> str:
    """A random string of up to twelve of them."""
    return "".join(rng.choice(HOSTILE) for _ in range(rng.randint(1, 12)))


def test_fuzzed_hostile_completions_neither_escape_nor_hang(pool: Pool) -> None:
    rng = random.Random(20250)
    spent = []
    for _ in range(1000):
        completion = f"\\boxed{{{_hostile(rng)}}}" if rng.random() < 0.9 else _hostile(rng)
        start = time.monotonic()
        verdict = grade(completion, "31337")
        spent.append(time.monotonic() - start)
        assert not verdict.correct, completion
    assert max(spent) < LIMITS.wall_s + RESTART_S
    assert pool.stats["asked"] > 20  # some of them do get as far as the worker


@pytest.mark.parametrize("answer", ["9^{9^{9^{9}}}", "(123456789!)!", r"\sin(10^{10^{10}})"])
def test_an_explosion_costs_the_limit_and_the_pool_survives(pool: Pool, answer: str) -> None:
    assert equivalent("x+1", "1+x")  # the worker is warm
    start = time.monotonic()
    verdict = grade(f"\\boxed{{{answer}}}", "25")
    assert not verdict.correct
    assert verdict.reason in (
        "boxed: math-verify: cpu",
        "boxed: math-verify: wall",
        "boxed: math-verify: memory",
    )
    assert time.monotonic() - start < LIMITS.wall_s + 1.0
    assert pool.stats["cpu"] + pool.stats["wall"] + pool.stats["memory"] == 1
    assert equivalent("x+2", "2+x")
    assert pool.stats["started"] == 2


def test_the_kernel_holds_the_limits() -> None:
    """As the kernel sees them: 512 MiB = 536,870,912 bytes of address space, no core, no file writes, CPU."""
    worker = Worker(Limits(memory_mib=512, cpu_s=2.0))
    assert worker.ask({"gold": "25", "pred": "5^2"})["equal"] is True
    with open(f"/proc/{worker.process.pid}/limits") as file:
        soft = {line[:26].strip(): line[26:].split()[0] for line in file}
    worker.kill()
    assert soft["Max address space"] == "536870912"
    assert soft["Max core file size"] == soft["Max file size"] == "0"
    assert 2 < int(soft["Max cpu time"]) < 60  # what importing used, plus 2, rounded up


def test_every_string_that_reaches_the_evaluating_parser_is_harmless() -> None:
    """The worker reports each string given to sympy's evaluator; here they are judged by rules of our own."""
    rng = random.Random(7)
    honest = [
        "5^2",
        r"\frac{3}{4}+1",
        "(1,2)",
        r"\sqrt{12}",
        "x<3",
        r"\{1,2\}",
        "25_8",
        "1,234",
        "y=2x",
        "0.5x",
    ]
    texts = [*honest, *(_hostile(rng) for _ in range(400))]
    vetted = [latex for latex in map(to_latex, texts) if screen(latex) is None]
    worker = Worker(LIMITS)
    evaluated: list[str] = []
    handed: list[str] = []
    for latex in vetted:
        reply = worker.ask({"gold": "x+25", "pred": latex})
        evaluated += reply["evaluated"]
        handed += reply["latex"]
        if reply["error"] in ("cpu", "wall", "died", "memory"):
            worker.kill()
            worker = Worker(LIMITS)
    worker.kill()
    assert len(vetted) > 20
    assert len(evaluated) > 20
    for text in evaluated:
        assert re.fullmatch(r"[0-9A-Za-z+\-*/^(), ._]*", text), text
        assert "__" not in text
        assert not re.search(r"[A-Za-z_)]\s*\.|\.\s*[A-Za-z_]", text), text
        assert not re.search(r"import|eval|exec|open|lambda|system|getattr", text), text
    for text in handed:
        assert not re.search(
            r"__|[`\"@#$%~\x00-\x08]|\.\s*[A-Za-z_]|[A-Za-z]{4}", re.sub(r"\\[A-Za-z]+|\{pmatrix\}", "", text)
        )


def test_the_worker_refuses_code_even_past_the_screen() -> None:
    """Defence in depth: what the screen would have stopped is put to the worker directly; no file appears."""
    worker = Worker(LIMITS)
    for latex in ("__import__('os').system('id')", "x.__class__.__base__", "\\text{open}('/tmp/x','w')"):
        reply = worker.ask({"gold": "1", "pred": latex})
        assert reply["equal"] is False
        assert all("__" not in text for text in reply["evaluated"]) or reply["error"] == "Refused"
        if worker.process.poll() is not None:
            worker = Worker(LIMITS)
    worker.kill()


def test_the_worker_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "not-a-real-key")
    worker = Worker(LIMITS)
    with open(f"/proc/{worker.process.pid}/environ", "rb") as file:
        names = {entry.split(b"=")[0].decode() for entry in file.read().split(b"\0") if entry}
    worker.kill()
    assert names <= {"PYTHONPATH", "LANG", "PYTHONHASHSEED", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "LC_CTYPE"}


def test_a_worker_killed_between_requests_is_replaced(pool: Pool) -> None:
    assert equivalent("x+3", "3+x")
    (worker,) = pool._workers
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    assert equivalent("x+4", "4+x")
    assert pool.stats["died"] == 1
    assert pool.stats["started"] == 2


def test_an_interrupted_request_leaves_its_place(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Worker, request: dict) -> dict:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Worker, "ask", interrupt)
        equivalent("x+9", "9+x")
    assert not pool._workers  # the only place is free: the next request does not wait for ever
    assert equivalent("x+9", "9+x")


def test_works_in_a_forked_child_beside_the_parent(pool: Pool) -> None:
    assert equivalent("x+5", "5+x")
    child = os.fork()
    if child == 0:
        ok = equivalent("x+6", "6+x") and not equivalent("x+6", "7+x") and pool.stats["started"] == 1
        pool.close()
        os._exit(0 if ok else 1)
    assert equivalent("x+7", "7+x")
    assert os.waitpid(child, 0)[1] == 0
    assert pool.stats["started"] == 1


def test_the_worker_ends_with_the_interpreter() -> None:
    code = (
        "from harness.grading.compare import symbolic; from harness.grading.grade import equivalent; "
        "assert equivalent('2+x', 'x+2'); "
        "print(*(w.process.pid for w in symbolic._pool._workers))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 1, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_results_are_counted() -> None:
    before = worker_stats().get("asked", 0)
    compare.cache_clear()
    assert equivalent("x+8", "8+x")
    assert equivalent("x+8", "8+x")  # the second time from the cache
    assert worker_stats()["asked"] == before + 1
