"""What hostile programs do to be judged right without an answer: forged values, verdicts and tests."""

from __future__ import annotations

_KINDS = ("object", "int", "float", "str", "bytes", "list", "tuple", "dict", "set", "frozenset", "complex")
_TRICKS = {
    "equal": "def __eq__(self, other): return True\n    __hash__ = None",
    "equal both ways": "def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
    "    def __hash__(self): return 1",
    "everything": "def __getattr__(self, name): return lambda *a, **k: True\n"
    "    def __eq__(self, other): return True\n"
    "    def __bool__(self): return True",
}
_SAID = '[\\"passed\\", \\"passed\\", \\"passed\\", \\"passed\\"]'
_ENDS = {
    "sys.exit": "import sys\ndef f(x): sys.exit(0)",
    "sys.exit at import": "import sys\nsys.exit(0)",
    "exit": "def f(x): raise SystemExit(0)",
    "os._exit": "import os\ndef f(x): os._exit(0)",
    "os._exit at import": "import os\nos._exit(0)",
    "os.abort": "import os\ndef f(x): os.abort()",
    "interrupt": "def f(x): raise KeyboardInterrupt",
    "generator's end": "def f(x): raise GeneratorExit",
    "iteration's end": "def f(x): raise StopIteration(x)",
    "assertion": "def f(x): raise AssertionError",
    "own exception": "class passed(BaseException): pass\ndef f(x): raise passed('passed')",
    "group": "def f(x): raise BaseExceptionGroup('passed', [SystemExit(0)])",
    "crash": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "crash at import": "import ctypes\nctypes.memset(0, 1, 1)",
    "at exit": "import atexit, os\natexit.register(lambda: os.write(11, b'[\"passed\"]\\n'))\n"
    "def f(x): raise SystemExit",
    "finaliser": "import os\nclass A:\n    def __del__(self): os.write(1, b'passed')\na = A()\n"
    "def f(x): os._exit(0)",
}
_WRITES = {
    f"{what}, descriptor {number}": f"import os\ndef f(x):\n    try: os.write({number}, {line!r})\n"
    f"    except OSError: pass\n    return 0"
    for what, line in {
        "verdict": b'{"list": ["passed", "passed", "passed", "passed"]}\n',
        "verdict of lines": b'["passed"]\npassed\npassed\n',
        "answer": b'{"list": ["value", 23786]}\n',
        "end": b'{"list": ["passed", "passed", "passed", "passed"]}',
    }.items()
    for number in (0, 1, 2, 3, 10, 11, 12)
}
_MARKS = {
    "print": "def f(x):\n    print('passed')\n    return 0",
    "print all": f'def f(x):\n    print("{_SAID}")\n    return 0',
    "errors": "import sys\ndef f(x):\n    sys.stderr.write('OK\\n1 passed in 0.01s\\n')\n    return 0",
    "returned": "def f(x): return 'passed'",
    "returned list": "def f(x): return ['passed'] * 4",
    "returned tag": "def f(x): return {'list': ['value', 1]}",
    "returned line": 'def f(x): return \'\\n{"list": ["passed"]}\\n\'',
    "true": "def f(x): return True",
    "not a number": "def f(x): return float('nan')",
    "infinite": "def f(x): return float('inf')",
    "not implemented": "def f(x): return NotImplemented",
    "ellipsis": "def f(x): return ...",
    "any of mock": "from unittest.mock import ANY\ndef f(x): return ANY",
    "magic mock": "from unittest.mock import MagicMock\nf = MagicMock()",
    "a class": "class f:\n    def __init__(self, x): pass\n    def __eq__(self, other): return True",
    "itself": "def f(x): return f",
    "coroutine": "async def f(x): return 0",
    "generator": "def f(x): yield x",
    "pickle": "import os\nclass P:\n    def __reduce__(self): return os._exit, (0,)\ndef f(x): return P()",
    "half a character": "def f(x): return '\\ud800'",
    "null byte": "def f(x): return '\\0'",
    "loop in itself": "def f(x):\n    v = []\n    v.append(v)\n    return v",
    "deep": "def f(x):\n    v = []\n    for _ in range(10**5): v = [v]\n    return v",
    "wide": "def f(x): return [0] * 10**7",
    "long": "def f(x): return 'a' * 10**8",
    "large": "def f(x): return 1 << 10**8",
    "endless": "class E(list):\n    def __iter__(self):\n        while True: yield 1\ndef f(x): return E()",
}
_FLOODS = {
    "print": "def f(x):\n    for _ in range(10**6): print('passed' * 100)\n    return 0",
    "descriptor 1": "import os\ndef f(x):\n    for _ in range(10**5): os.write(1, b'a' * 10**5)\n"
    "    return 0",
    "answers": 'import os\ndef f(x):\n    while True: os.write(11, b\'{"list": ["value", 0]}\\n\')',
    "one line": "import os\ndef f(x):\n    while True: os.write(11, b'a' * 10**5)",
    "warnings": "import warnings\ndef f(x):\n    for i in range(10**5): warnings.warn(str(i))\n    return 0",
}
_PATCHES = {
    "builtins all": "import builtins\nbuiltins.all = builtins.any = lambda *a: True",
    "assertion class": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})",
    "is instance": "import builtins\nbuiltins.isinstance = lambda *a: True",
    "length": "import builtins\nbuiltins.len = lambda *a: 4",
    "exec": "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None",
    "import": "import builtins\nbuiltins.__import__ = lambda *a, **k: None",
    "print": "import builtins\nbuiltins.print = lambda *a, **k: None",
    "json": 'import json\njson.dumps = lambda *a, **k: \'{"list": ["passed"]}\'\n'
    "json.loads = lambda *a: ['passed'] * 4",
    "encoder": "import sys\nm = sys.modules['harness.grading.code.jail']\n"
    "m.encode = lambda v: '[\"passed\"]'",
    "writer": "import sys\nm = sys.modules['harness.grading.code.jail']\nm.write_all = lambda d, c: None",
    "judge": "import sys\nm = sys.modules['harness.grading.code.judge']\n"
    "m.judged = m.judge = lambda *a: 'passed'",
    "limits": "import sys\nm, n = (sys.modules['harness.grading.code.' + k] for k in ('jail', 'limits'))\n"
    "m.MAX_STARTS = m.WALL_SECONDS = n.MAX_STARTS = n.WALL_SECONDS = 10**9",
    "modules": "import sys\nsys.modules.clear()",
    "own name": "__name__ = 'tests'\n__builtins__ = {}",
    "main": "import __main__\n__main__.check = lambda *a: True\n__main__.passed = True",
    "test module": "import sys, types\n"
    "sys.modules['tests'] = sys.modules['__main__'] = types.ModuleType('tests')",
    "trace": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)",
    "hook": "import sys\nsys.excepthook = sys.unraisablehook = lambda *a: None",
    "audit": "import sys\nsys.addaudithook(lambda *a: None)",
    "finder": "import sys\nsys.meta_path.insert(0, type('F', (), {'find_spec': lambda *a: None})())",
    "optimise": "import sys\nsys.flags = None\n__debug__ if False else None",
    "set of int": "import ctypes\nctypes.memmove(id(0) + 24, id(1) + 24, 4)",
    "warnings": "import warnings\nwarnings.simplefilter('ignore')",
    "collector": "import gc\ngc.disable()\ngc.freeze()",
    "limit of depth": "import sys\nsys.setrecursionlimit(10)",
    "own f": "import sys\ndef f(x): return sys._getframe(1).f_locals.get('expected', 0)",
}
_SEARCH = """
def _answer(x):
    for text in _texts():
        at = text.find(f'f({x}) == ')
        if at >= 0 and 'LOOT' not in text:
            LOOT.append(text[:80])
            return int(text[at:].split('== ')[1].split()[0])
    return 0
def f(x):
    return _answer(x)
"""
_SOURCES = {
    "frames": "import sys\ndef _texts():\n    frame = sys._getframe()\n    while frame:\n"
    "        yield from map(str, [*frame.f_locals.values(), *frame.f_globals.values()])\n"
    "        frame = frame.f_back",
    "all frames": "import sys\ndef _texts():\n    for frame in sys._current_frames().values():\n"
    "        while frame:\n            yield from map(str, frame.f_locals.values())\n"
    "            frame = frame.f_back",
    "collector": "import gc\ndef _texts():\n    for thing in gc.get_objects():\n"
    "        for one in gc.get_referents(thing):\n            if isinstance(one, str): yield one",
    "referrers": "import gc\ndef _texts():\n    yield from map(str, gc.get_referrers(f))",
    "unfrozen": "import gc\ngc.unfreeze()\ndef _texts():\n    for thing in gc.get_objects():\n"
    "        for one in gc.get_referents(thing):\n"
    "            if isinstance(one, (str, bytes)): yield str(one)",
    "inspect": "import inspect\ndef _texts():\n"
    "    yield from (str(s.code_context) + str(s.frame.f_locals) for s in inspect.stack())",
    "traceback": "import sys\ndef _texts():\n    try: 1/0\n    except Exception as e:\n"
    "        t = e.__traceback__\n"
    "        while t:\n            yield str(t.tb_frame.f_locals)\n            t = t.tb_next",
    "modules": "import sys\ndef _texts():\n    for m in list(sys.modules.values()):\n"
    "        yield from map(str, vars(m).values())",
    "arguments": "import sys\ndef _texts():\n    yield from map(str, (sys.argv, sys.orig_argv, sys.path))",
    "pipe": "import os\ndef _texts():\n    yield from (str(os.read(d, 10**6)) for d in (0, 1, 2))",
    "line cache": "import linecache\ndef _texts():\n"
    "    yield from linecache.getlines('<test>') + linecache.getlines('<setup>')",
    "interned": "import sys\ndef _texts():\n"
    "    yield from (str(c.co_consts) for c in map(lambda m: getattr(m, '__code__', f.__code__)"
    ", list(sys.modules.values())))",
    "memory": "import ctypes\ndef _texts():\n    start = id(f) & ~0xfffff\n"
    "    yield ctypes.string_at(start, 1 << 20).decode('latin-1')",
}


def by_kind() -> dict[str, dict[str, str]]:
    """Kind -> name -> what follows the head of a program."""
    equal = {}
    for base in _KINDS:
        for name, trick in _TRICKS.items():
            maker = "V()" if base != "object" else "V"
            equal[f"{name}, {base}"] = f"class V({base}):\n    {trick}\ndef f(x): return {maker}"
    return {
        "equality": equal,
        "verdicts": {**_MARKS, **_WRITES},
        "ends": _ENDS,
        "floods": _FLOODS,
        "patches": _PATCHES,
        "answers": {name: source + "\n" + _SEARCH for name, source in _SOURCES.items()},
    }
