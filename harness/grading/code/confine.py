"""What takes a process's rights away: namespaces, an empty root, no capabilities, few system calls, limits.

`enter` gives a process and its children a network, processes, users and a file system of their own, in which
nothing but Python's standard library can be read and nothing be written (Linux namespaces). `lock` then
takes from one process all that is left: capabilities, and every system call but those that computing needs
(seccomp). Either raises Refused where the kernel does not allow it; nothing runs with less.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

NEW_MOUNTS, NEW_CGROUP, NEW_NAME, NEW_IPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEW_USER, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_READ_ONLY, _NO_SUID, _NO_DEV, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PARENT_DEATH, _NO_NEW_PRIVILEGES = 1, 38
_ALLOW, _ERROR_EPERM = 0x7FFF0000, 0x00050001
_GET_DESCRIPTOR_FLAGS = 1
_EQUAL = 4
_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt", "/tmp")

# Memory, the end of a process, its own signals' handlers, time, random bytes, and reading what is there.
CALLS = (
    *(
        "read",
        "readv",
        "pread64",
        "write",
        "writev",
        "close",
        "lseek",
        "fstat",
        "stat",
        "lstat",
        "newfstatat",
    ),
    *("statx", "openat", "open", "getdents64", "readlink", "readlinkat", "access", "faccessat", "faccessat2"),
    *("getcwd", "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "futex", "exit", "exit_group"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "getpid", "gettid"),
    *("getuid", "geteuid", "getgid", "getegid", "clock_gettime", "clock_getres", "gettimeofday", "time"),
    *("getrandom", "sched_yield", "uname"),
)


class Refused(RuntimeError):
    """This machine does not allow what confines a program."""


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


@lru_cache(maxsize=1)
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _check(what: str, result: int) -> int:
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def enter(library: str) -> None:
    """Leave this machine: after it only the folder `library` can be read, and nothing written or reached.

    Children made after it are in a process namespace of their own. The process keeps its capabilities over
    these namespaces alone. Raises Refused.
    """
    if sys.platform != "linux":
        raise Refused(f"a Linux kernel is needed, and this is {sys.platform}")
    user, group, libc = os.getuid(), os.getgid(), _libc()
    spaces = NEW_USER | NEW_MOUNTS | NEW_PROCESSES | NEW_NETWORK | NEW_IPC | NEW_NAME | NEW_CGROUP
    _check("user namespaces", libc.unshare(spaces))
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"65534 {user} 1")
        Path("/proc/self/gid_map").write_text(f"65534 {group} 1")
        _change_root(libc, library)
    except OSError as error:
        raise Refused(f"user namespaces: {error}") from None


def end_with_parent() -> None:
    """Let the kernel end this process when its parent ends. Raises Refused."""
    _check("prctl", _libc().prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0))


def _mount(
    libc: Any, source: str, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    texts = [text if text is None else text.encode() for text in (source, target, kind)]
    _check(f"mount {target}", libc.mount(*texts, ctypes.c_ulong(flags), data and data.encode()))


def _change_root(libc: Any, library: str) -> None:
    _mount(libc, "none", "/", None, _RECURSIVE | _PRIVATE)
    point = next((p for p in _MOUNT_POINTS if os.path.isdir(p) and not library.startswith(p + "/")), None)
    if point is None:
        raise Refused(f"none of {', '.join(_MOUNT_POINTS)} is a folder to mount on")
    quiet = _NO_SUID | _NO_DEV
    _mount(libc, "tmpfs", point, "tmpfs", quiet, "size=1m,mode=755")
    inside = point + library
    os.makedirs(inside)
    _mount(libc, library, inside, None, _BIND | _RECURSIVE)
    locked = os.statvfs(library).f_flag & (os.ST_NOEXEC | os.ST_NODEV | os.ST_NOSUID)  # the same bits
    _mount(libc, library, inside, None, _REMOUNT | _BIND | _READ_ONLY | quiet | locked)
    for packages in ("site-packages", "dist-packages"):
        if os.path.isdir(f"{inside}/{packages}"):
            _mount(libc, "tmpfs", f"{inside}/{packages}", "tmpfs", quiet | _READ_ONLY)
    os.chdir(point)
    number = _seccomp().seccomp_syscall_resolve_name(b"pivot_root")
    _check("pivot_root", libc.syscall(ctypes.c_long(number), b".", b"."))
    _check("umount", libc.umount2(b".", _DETACH))
    os.chdir("/")
    _mount(libc, "none", "/", None, _REMOUNT | _BIND | _READ_ONLY | quiet)


@lru_cache(maxsize=1)
def _seccomp() -> Any:
    """libseccomp, which knows each machine's numbers of system calls. Raises Refused."""
    try:
        found = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise Refused("libseccomp.so.2 is not installed (Debian: libseccomp2)") from None
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_rule_add_array.argtypes = (
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.c_void_p,
    )
    found.seccomp_load.argtypes = (ctypes.c_void_p,)
    return found


@lru_cache(maxsize=1)
def filter_of_calls() -> Any:
    """The filter that `lock` loads, made once: CALLS are allowed, any other call fails with EPERM."""
    library = _seccomp()
    made = library.seccomp_init(_ERROR_EPERM)
    if not made:
        raise Refused("seccomp_init failed")
    for name in CALLS:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # some have no such call
            _check(name, library.seccomp_rule_add_array(made, _ALLOW, number, 0, None))
    number = library.seccomp_syscall_resolve_name(b"fcntl")  # asked of every file that is imported
    asks = (_Comparison * 1)(_Comparison(1, _EQUAL, _GET_DESCRIPTOR_FLAGS, 0))
    _check("fcntl", library.seccomp_rule_add_array(made, _ALLOW, number, 1, asks))
    return made


def lock(*, memory: int, cpu_seconds: int) -> None:
    """Limit this process and take its capabilities and system calls, for good. Raises Refused."""
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(kind, (most, most))
    libc = _libc()
    _check("prctl", libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    header, empty = _Header(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _check("capset", libc.capset(ctypes.byref(header), empty))
    _check("seccomp", _seccomp().seccomp_load(filter_of_calls()))


def fork_apart() -> int:
    """Fork a child that is the first process of a namespace of its own: with it dies all that is in there.

    Returns its id, and 0 in the child. Raises Refused.
    """
    sys.stdout.flush()
    number = _seccomp().seccomp_syscall_resolve_name(b"clone")
    flags = NEW_PROCESSES | NEW_IPC | signal.SIGCHLD
    # PyDLL keeps the interpreter's lock, so that the child, which has this thread alone, holds it.
    zeros = [ctypes.c_long(0)] * 4
    child = int(
        ctypes.PyDLL(None, use_errno=True).syscall(ctypes.c_long(number), ctypes.c_long(flags), *zeros)
    )
    if child == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    return _check("clone", child)
