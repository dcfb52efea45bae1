"""What hostile programs do: bodies of Python that put into `LOOT` what they get hold of."""

from __future__ import annotations

import platform

_SYSCALL = "import ctypes\nr = ctypes.CDLL(None).syscall({call})\nr >= 0 and LOOT.append(r)"
_PATHS = {
    "passwd": "/etc/passwd",
    "environment": "/proc/self/environ",
    "maps": "/proc/self/maps",
    "memory": "/proc/self/mem",
    "first process": "/proc/1/cmdline",
    "kernel": "/sys/kernel/notes",
    "disk": "/dev/vda",
    "device": "/dev/mem",
    "parents": "../../../../etc/passwd",
    "descriptor": "/dev/fd/0",
}
_READERS = {
    "open": "LOOT.append(open({path!r}, 'rb').read(20))",
    "os.open": "import os\nLOOT.append(os.read(os.open({path!r}, os.O_RDONLY), 20))",
}
_PROCESSES = {
    "fork": "import os\nLOOT.append(os.fork())",
    "fork bomb": "import os\nwhile True:\n    LOOT.append(os.fork())",
    "forkpty": "import os\nLOOT.append(os.forkpty())",
    "system": "import os\nos.system('true') == 0 and LOOT.append('system')",
    "popen": "import os\nLOOT.append(os.popen('id').read() or 1/0)",
    "subprocess": "import subprocess\nLOOT.append(subprocess.check_output(['id']))",
    "shell": "import subprocess\nLOOT.append(subprocess.getoutput('id'))",
    "posix_spawn": "import os\nLOOT.append(os.posix_spawn('/bin/true', ['true'], {}))",
    "exec": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo passed'])",
    "multiprocessing": "import multiprocessing as m\np = m.Process(target=print)\np.start()\n"
    "LOOT.append(p.pid)",
    "process pool": "from concurrent.futures import ProcessPoolExecutor as P\n"
    "LOOT.append(P(2).submit(abs, 1).result())",
    "thread": "import threading\nthreading.Thread(target=LOOT.append, args=(1,)).start()",
    "thread bomb": "import _thread\nwhile True:\n    LOOT.append(_thread.start_new_thread(print, ()))",
    "clone": _SYSCALL.format(call="56, 17, 0, 0, 0, 0"),
    "vfork": _SYSCALL.format(call="58"),
    "clone3": _SYSCALL.format(call="435, 0, 0"),
    "execve": _SYSCALL.format(call="59, b'/bin/sh', 0, 0"),
}
_SOCKETS = ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG")
_SIGNALS = {
    "kill parent": "import os\nos.kill(os.getppid(), 9)\nLOOT.append('killed')",
    "kill first": "import os\nos.kill(1, 9)\nLOOT.append('killed')",
    "kill all": "import os\nos.kill(-1, 9)\nLOOT.append('killed')",
    "kill group": "import os\nos.killpg(0, 9)\nLOOT.append('killed')",
    "stop": "import os, signal\nos.kill(0, signal.SIGSTOP)\nLOOT.append('stopped')",
    "raise": "import signal\nsignal.raise_signal(signal.SIGKILL)\nLOOT.append('raised')",
    "thread": "import signal, threading\nsignal.pthread_kill(threading.get_ident(), 9)\nLOOT.append('sent')",
    "alarm": "import signal\nsignal.alarm(1)\nsignal.setitimer(signal.ITIMER_REAL, 1)\nLOOT.append('set')",
    "queue": _SYSCALL.format(call="129, 1, 9, 0"),
    "descriptor": "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(1), 9)\nLOOT.append('sent')",
    "tgkill": _SYSCALL.format(call="234, 1, 1, 9"),
}
_NUMBERS = {
    "unshare": "272, 0x10000000",
    "mount": "165, b'none', b'/', b'tmpfs', 0, 0",
    "umount": "166, b'/', 2",
    "chroot": "161, b'/'",
    "pivot_root": "155, b'.', b'.'",
    "setns": "308, 0, 0",
    "setuid": "105, 0",
    "setresuid": "117, 0, 0, 0",
    "capset": "126, 0, 0",
    "ptrace": "101, 16, 1, 0, 0",
    "read another's memory": "310, 1, 0, 0, 0, 0, 0",
    "write another's memory": "311, 1, 0, 0, 0, 0, 0",
    "seccomp": "317, 0, 0, 0",
    "prctl": "157, 38, 0, 0, 0, 0",
    "bpf": "321, 0, 0, 0",
    "keyctl": "250, 0, 0, 0, 0, 0",
    "add_key": "248, b'user', b'a', b'b', 1, -3",
    "io_uring": "425, 1, 0",
    "userfaultfd": "323, 0",
    "perf": "298, 0, 0, -1, -1, 0",
    "module": "175, 0, 0, b''",
    "reboot": "169, 0xfee1dead, 672274793, 0, 0",
    "hostname": "170, b'mine', 4",
    "set time": "164, 0, 0",
    "memfd": "319, b'a', 0",
    "shared memory": "29, 1, 4096, 0o1777",
    "message queue": "68, 1, 0o1777",
    "personality": "135, 0x0040000",
    "32-bit calls": "0x40000000 + 39",
    "limits": "302, 0, 9, 0, 0",
    "priority": "141, 0, 0, -20",
    "file handle": "304, -100, b'', 0",
    "swap": "167, b'/', 0",
    "quota": "179, 0, 0, 0, 0",
}
_WRITES = {
    "tmp": "open('/tmp/mine', 'w')\nLOOT.append('written')",
    "here": "open('mine', 'w')\nLOOT.append('written')",
    "shm": "open('/dev/shm/mine', 'w')\nLOOT.append('written')",
    "library": "import json\nopen(json.__file__, 'a')\nLOOT.append('written')",
    "shadow": "import os\nopen(os.path.dirname(os.__file__) + '/harness.py', 'w')\nLOOT.append('written')",
    "cache": "import os\nos.makedirs(os.path.dirname(os.__file__) + '/mine')\nLOOT.append('made')",
    "folder": "import os\nos.mkdir('/mine')\nLOOT.append('made')",
    "link": "import os\nos.symlink('/etc', '/mine')\nLOOT.append('linked')",
    "hard link": "import os, json\nos.link(json.__file__, '/mine')\nLOOT.append('linked')",
    "rename": "import os, json\nos.rename(json.__file__, '/mine')\nLOOT.append('renamed')",
    "remove": "import os, json\nos.unlink(json.__file__)\nLOOT.append('removed')",
    "mode": "import os, json\nos.chmod(json.__file__, 0o777)\nLOOT.append('changed')",
    "time": "import os, json\nos.utime(json.__file__)\nLOOT.append('changed')",
    "truncate": "import os, json\nos.truncate(json.__file__, 0)\nLOOT.append('cut')",
    "temporary": "import tempfile\nLOOT.append(tempfile.mkstemp())",
    "pipe": "import os\nos.mkfifo('/mine')\nLOOT.append('made')",
    "device": "import os\nos.mknod('/mine', 0o20666, os.makedev(1, 1))\nLOOT.append('made')",
    "database": "import sqlite3\nsqlite3.connect('/mine').execute('create table a(b)')\nLOOT.append('made')",
    "extended": "import os, json\nos.setxattr(json.__file__, 'user.a', b'b')\nLOOT.append('set')",
}
_TIME = {
    "loop": "while True:\n    pass",
    "loop that catches": "def g():\n    while True:\n        try:\n            while True: pass\n"
    "        except BaseException: pass\ng()",
    "power": "9 ** 9 ** 9",
    "expression": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "sort": "sorted(iter(int, 1))",
    "sum": "sum(iter(lambda: 1, 2))",
    "digits": "import sys\nsys.set_int_max_str_digits(0)\nstr(1 << 10**8)",
    "sleep": "import time\ntime.sleep(10**6)",
    "busy wait": "import time\nend = time.time() + 10**6\nwhile time.time() < end: pass",
    "lock": "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()",
    "input": "input()",
    "read": "import os\nos.read(10, 1)",
    "select": "import select\nselect.select([], [], [])",
    "ignored limit": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    "factors": "import math\nmath.factorial(10**9)",
    "fraction": "from fractions import Fraction\nx = Fraction(1, 3)\nwhile True: x = x * x + 1",
}
_MEMORY = {
    "text": "x = 'a' * 10**11",
    "bytes": "x = bytearray(10**11)",
    "list": "x = []\nwhile True: x.append(bytearray(10**6))",
    "doubling": "x = [1]\nwhile True: x += x",
    "shift": "x = 1 << 10**11",
    "dictionary": "x = {i: [i] for i in range(10**10)}",
    "map": "import mmap\nx = [mmap.mmap(-1, 1 << 28) for _ in range(64)]",
    "nested": "x = []\nwhile True: x = [x, x, bytearray(10**5)]",
    "deep": "import sys\nsys.setrecursionlimit(10**9)\ndef g(n): return g(n + 1) + 1\ng(0)",
    "compile": "compile('(' * 10**6 + ')' * 10**6, 'a', 'eval')",
    "stack": "import json\njson.loads('[' * 10**7)",
}


def _reads(canary: str) -> dict[str, str]:
    paths = {**_PATHS, "canary": canary, "checkout": __file__}
    found = {f"{p}, {r}": code.format(path=path) for p, path in paths.items() for r, code in _READERS.items()}
    return found | {
        "pathlib": "import pathlib\nLOOT.append(pathlib.Path('/etc/hostname').read_text())",
        "linecache": "import linecache\nLOOT.extend(linecache.getlines('/etc/passwd'))",
        "list root": "import os\nLOOT.extend(set(os.listdir('/')) - set(os.__file__.split('/')))",
        "walk": "import os\n"
        "LOOT.extend(p for p, d, f in os.walk('/') if 'packages' in p and f and 'site' in p)",
        "packages": "import numpy\nLOOT.append(numpy)",
        "harness": "import harness.types\nLOOT.append(harness.types)",
        "variables": "import os\nLOOT.extend(v for v in os.environ if 'PATH' in v or 'HOME' in v)",
        "users": "import pwd\nLOOT.extend(pwd.getpwall())",
        "open root": "import os\nd = os.open('/', os.O_RDONLY)\n"
        "LOOT.append(os.open('../etc/passwd', 0, dir_fd=d))",
        "descriptors": "import os\nfor d in (0, *range(3, 10), *range(12, 200)):\n"
        "    try: LOOT.append(os.read(d, 9) or 1/0)\n    except (OSError, ZeroDivisionError): pass",
    }


def _network(port: int) -> dict[str, str]:
    made = {
        f"{name} {kind}": f"import socket\nLOOT.append(socket.socket(socket.{name}, socket.{kind}))"
        for name in _SOCKETS
        for kind in ("SOCK_STREAM", "SOCK_DGRAM")
    }
    return made | {
        "connect": f"import socket\nLOOT.append(socket.create_connection(('127.0.0.1', {port})))",
        "names": "import socket\nLOOT.append(socket.gethostbyname('localhost'))",
        "page": f"import urllib.request\nLOOT.append(urllib.request.urlopen('http://127.0.0.1:{port}'))",
        "pair": "import socket\nLOOT.append(socket.socketpair())",
        "loop": f"import asyncio\nLOOT.append(asyncio.run(asyncio.open_connection('127.0.0.1', {port})))",
        "call": _SYSCALL.format(call="41, 2, 1, 0"),
        "send": _SYSCALL.format(call="44, 10, b'a', 1, 0, 0, 0"),
    }


def by_kind(canary: str, port: int) -> dict[str, dict[str, str]]:
    """Kind -> name -> body. Calls by number are those of one machine."""
    found = {
        "processes": _PROCESSES,
        "network": _network(port),
        "reading": _reads(canary),
        "writing": _WRITES,
        "signals": _SIGNALS,
        "privileges": {name: _SYSCALL.format(call=call) for name, call in _NUMBERS.items()},
        "time": _TIME,
        "memory": _MEMORY,
    }
    if platform.machine() == "x86_64":
        return found
    return {
        kind: {name: body for name, body in table.items() if ".syscall(" not in body}
        for kind, table in found.items()
        if kind != "privileges"
    }
