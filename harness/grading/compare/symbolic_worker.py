"""The confined process that runs math-verify. Started by file path from `harness.grading.compare.workers`.

Protocol, one JSON object a line: in {"gold", "pred", "decimals"}, out {"equal", "error", "latex",
"evaluated"}. "latex" lists what went to math-verify's LaTeX parser, "evaluated" what reached sympy's
evaluating parser.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import sys
import time
from typing import Any

# What sympy's evaluating parser may see: arithmetic on numbers and names, no attribute, quote or dunder.
HARMLESS = re.compile(r"(?!.*__)(?!.*\.\s*[A-Za-z_])[\w\s.+\-*/^()=<>,!|&]{0,500}")
_REFUSED_EVENTS = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.kill",
    "shutil.",
    "ctypes.",
    "urllib.",
    "pty.",
)


class Refused(RuntimeError):
    """What the audit hook and the guard on the evaluating parser raise."""


def main() -> None:
    """Read requests until the end of stdin. argv: CPU seconds a request, memory in MiB."""
    cpu_s, memory_mib = float(sys.argv[1]), int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing that a library prints may pass for a reply
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    evaluated: list[str] = []
    math_verify = _import_guarded(evaluated)
    _compare(math_verify, {"gold": "x+1", "pred": "1+x"})  # lazy imports before hook and clock
    sys.addaudithook(_refuse)
    replies.write('{"ready": true}\n')
    for line in sys.stdin:
        evaluated.clear()
        _limit_cpu(cpu_s)
        reply = _answer(math_verify, json.loads(line))
        replies.write(json.dumps({**reply, "evaluated": evaluated}) + "\n")


def _limit_cpu(cpu_s: float) -> None:
    """SIGXCPU, which nobody catches, ends the process once it has used `cpu_s` more seconds of CPU."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + cpu_s), resource.RLIM_INFINITY))


def _import_guarded(evaluated: list[str]) -> Any:
    """Import math-verify with sympy's evaluating parser guarded: `evaluated` gets each string, harmful raise.

    Every way into eval (parse_expr, sympify of a string) goes through sympy_parser.stringify_expr.
    """
    import logging

    logging.disable(logging.CRITICAL)
    from sympy.parsing import sympy_parser

    stringify = sympy_parser.stringify_expr

    def guarded(text: str, *args: Any) -> str:
        evaluated.append(text)
        if not HARMLESS.fullmatch(text):
            raise Refused(f"refused to evaluate {text[:80]!r}")
        return stringify(text, *args)

    sympy_parser.stringify_expr = guarded
    import math_verify

    return math_verify


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: no process, socket, foreign code or write, whatever an expression should make sympy do."""
    if event.startswith(_REFUSED_EVENTS):
        raise Refused(event)
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise Refused(event)


def _answer(math_verify: Any, request: dict[str, Any]) -> dict[str, Any]:
    from sympy.core.random import seed

    seed(0)  # simplify tries random values: a grade is the same in every process
    texts = [request["gold"], request["pred"]]
    try:
        return {"equal": _compare(math_verify, request), "error": None, "latex": texts}
    except MemoryError:
        return {"equal": False, "error": "memory", "latex": []}
    except (Exception, RecursionError) as error:  # untrusted text: whatever it provokes is a wrong answer
        return {"equal": False, "error": type(error).__name__, "latex": texts}


def _compare(math_verify: Any, request: dict[str, Any]) -> bool:
    """verify(gold, pred): the order matters. No timeouts of math-verify's own: they need SIGALRM."""
    config = [math_verify.LatexExtractionConfig()]
    gold, pred = (
        math_verify.parse(
            f"${request[key]}$",
            extraction_config=config,
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,
            raise_on_error=True,
        )
        for key in ("gold", "pred")
    )
    if not gold or not pred:
        return False
    options = {"float_rounding": request.get("decimals", 6), "timeout_seconds": None, "raise_on_error": True}
    if math_verify.verify(gold, pred, **options):
        return True
    complex_gold, complex_pred = _with_imaginary_unit(gold), _with_imaginary_unit(pred)
    return (complex_gold, complex_pred) != (gold, pred) and math_verify.verify(
        complex_gold, complex_pred, **options
    )


def _with_imaginary_unit(parsed: list[Any]) -> list[Any]:
    """math-verify reads `i` as a variable: put sympy's imaginary unit in its place."""
    from sympy import I

    found = []
    for expression in parsed:
        symbols = [s for s in getattr(expression, "free_symbols", ()) if s.name == "i"]
        found.append(expression.subs(dict.fromkeys(symbols, I)).doit() if symbols else expression)
    return found


if __name__ == "__main__":
    main()
