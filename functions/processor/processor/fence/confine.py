"""What a file's own process may not do from here on. All of it works without privileges.

Limits are those of setrlimit(2); the filter is that of seccomp(2), and where there is none a fork
is not refused but ends with its group. RLIMIT_NPROC would do neither: it does not bind root, and
counts threads, without which HEIC is not decoded.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
PR_SET_CHILD_SUBREAPER = 36
_X86_64, _X32 = 0xC000003E, 0x40000000
_MMAP, _MREMAP = 9, 25
_CLONE, _CLONE3, _CLONE_THREAD = 56, 435, 0x10000
# fork, vfork, execve, execveat, kill, socket, socketpair, ptrace, process_vm_readv and _writev,
# prlimit64.
_REFUSED = (57, 58, 59, 322, 62, 41, 53, 101, 310, 311, 302)
_LOAD, _RETURN = 0x20, 0x06
_EQUAL, _GREATER, _AT_LEAST, _ANY_OF = 0x15, 0x25, 0x35, 0x45
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def prctl(option: int, *arguments: int | ctypes.Array[ctypes.c_char]) -> bool:
    """Whether it is so now."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    words = [a if isinstance(a, ctypes.Array) else ctypes.c_ulong(a) for a in padded]
    return int(_libc.prctl(option, *words)) == 0


def die_with(parent: int) -> None:
    """Ends this process when its parent ends, or at once where that was before."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine(mapped: int, memory: int, largest: int, cpu_seconds: int, file_bytes: int) -> None:
    """memory: bytes beyond what is mapped now. largest: of one allocation, beyond which the process
    is killed by SIGSYS, as not every library says so when it gets none. file_bytes: of a file that
    is open already; none can be opened."""
    limits = (
        (resource.RLIMIT_AS, mapped + memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 0),
    )
    for limit, value in limits:
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))  # SIGXCPU, then SIGKILL
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if platform.machine() == "x86_64":
        _filter(largest)


def _instructions(*rows: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("HBBI", *row) for row in rows)


# Refuses _REFUSED with EPERM.
_CALLS = _instructions(
    (_LOAD, 0, 0, 4),  # the architecture
    (_EQUAL, 1, 0, _X86_64),
    (_RETURN, 0, 0, _KILL),
    (_LOAD, 0, 0, 0),  # the system call
    (_AT_LEAST, 0, 1, _X32),
    (_RETURN, 0, 0, _KILL),
    *(
        row
        for number in _REFUSED
        for row in ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM))
    ),
    # Unknown, so that the C library falls back on clone, whose flags can be looked at here.
    (_EQUAL, 0, 1, _CLONE3),
    (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    (_EQUAL, 0, 4, _CLONE),
    (_LOAD, 0, 0, 16),
    (_ANY_OF, 0, 1, _CLONE_THREAD),
    (_RETURN, 0, 0, _ALLOW),  # libheif does not go without threads
    (_RETURN, 0, 0, _ERRNO | errno.EPERM),
)


def _filter(largest: int) -> None:
    """Refuses _REFUSED; kills for one mapping of more than `largest` bytes."""
    sizes = [
        row
        for number, low in ((_MMAP, 24), (_MREMAP, 32))  # where the length is
        for row in (
            (_EQUAL, 0, 6, number),
            (_LOAD, 0, 0, low + 4),  # its upper half
            (_EQUAL, 0, 2, 0),
            (_LOAD, 0, 0, low),
            (_GREATER, 0, 1, min(largest, 0xFFFFFFFF)),
            (_RETURN, 0, 0, _KILL),
            (_RETURN, 0, 0, _ALLOW),
        )
    ]
    code = _CALLS + _instructions(*sizes, (_RETURN, 0, 0, _ALLOW))
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    prctl(_PR_SET_SECCOMP, 2, ctypes.create_string_buffer(described))
