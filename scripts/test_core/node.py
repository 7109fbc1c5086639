#!/usr/bin/env python3
"""Stands in for bitcoind: becomes it, but not before a `bitcointap record` is attached.

In: the arguments of bitcoind, and the environment that `test-core` sets. Out: the node, in this process, by exec. A second process, which is
no child of the node, holds the node at its first instruction until the tap is attached, and waits for its end. It leaves these files in a
directory of its own below TEST_CORE_RUNS:

    recording  the recording of the tap
    tap.log    the log of bitcointap
    debug.log  the log of this run of the node
    run.json   how it went; written last
"""

import ctypes
import datetime
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

# <sys/ptrace.h>, <sys/wait.h>
PTRACE_CONT, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_O_TRACEEXEC, PTRACE_EVENT_EXEC = 7, 17, 0x4206, 0x10, 4
WALL = 0x40000000
# From its start until it opens the log a node takes milliseconds; with -nodebuglogfile there is none.
LOG_PATIENCE = 20
# Each run of a node begins with this line in its log, after lines about its options.
FIRST_LINE = re.compile(rb"^(\S+Z) .*Bitcoin Core version v", re.MULTILINE)


def ptrace(request, pid, data):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, data) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def log_file(pid):
    """The log of a node that runs, among the files that it appends to. Stays readable when it is deleted."""
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        flags = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().split("flags:")[1].split()[0]
        if int(flags, 8) & os.O_APPEND:
            file = open(f"/proc/{pid}/fd/{descriptor}", "rb")
            if FIRST_LINE.search(os.pread(file.fileno(), 1 << 20, 0)):
                return file
            file.close()
    return None


def own_part(log, released):
    """What this run has logged: from its first line, which is the first one after it was let go, to that of the next run."""
    if log is None or os.fstat(log.fileno()).st_size == 0:
        return None
    text = mmap.mmap(log.fileno(), 0, access=mmap.ACCESS_READ)
    begin = None
    for line in FIRST_LINE.finditer(text):
        if begin is not None:
            return text[begin:line.start()]
        if line[1].decode() >= released:
            begin = line.start()
    return None if begin is None else text[begin:]


def attach(pid, directory):
    """A tap of a process that is stopped; returns when it is attached, or has failed."""
    log = directory / "tap.log"
    command = [os.environ["TEST_CORE_BITCOINTAP"], "record", directory / "recording", "--pid", str(pid), "--events", "default"]
    command += ["--ring-buffer-size", os.environ["TEST_CORE_RING_BUFFER"]]
    with log.open("wb") as file:
        tap = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    while tap.poll() is None and b"attached to" not in log.read_bytes():
        time.sleep(0.005)
    return tap


def stopped_at_exec(pid):
    """Waits for a process to become another program, where it stops. False if it ends before."""
    while True:
        _, status = os.waitpid(pid, WALL)
        if not os.WIFSTOPPED(status):
            return False
        if status >> 8 == signal.SIGTRAP | PTRACE_EVENT_EXEC << 8:
            return True
        # A signal, such as that of its child's end.
        ptrace(PTRACE_CONT, pid, os.WSTOPSIG(status))


def watch(pid, directory, ready):
    """Taps the node that process `pid` becomes, and keeps what it says until it ends."""
    ptrace(PTRACE_SEIZE, pid, PTRACE_O_TRACEEXEC)
    os.write(ready, b".")
    os.close(ready)
    if not stopped_at_exec(pid):
        return {"failure": "the node could not be started"}
    tap = attach(pid, directory)
    released = datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    ptrace(PTRACE_DETACH, pid, None)

    log, until = None, time.monotonic() + LOG_PATIENCE
    while log is None and tap.poll() is None and time.monotonic() < until:
        try:
            log = log_file(pid)
        except FileNotFoundError:  # The node or the descriptor is gone.
            pass
        time.sleep(0.01)
    status = tap.wait()
    part = own_part(log, released)
    if part is not None:
        (directory / "debug.log").write_bytes(part)
    return {"failure": f"bitcointap ended with status {status}"} if status else {}


def main():
    node = os.environ["TEST_CORE_BITCOIND"]
    # Otherwise exec would keep Python's ignoring of these.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    pid = os.getpid()
    directory = Path(os.environ["TEST_CORE_RUNS"], f"{time.time_ns()}-{pid}")
    directory.mkdir()
    go, ready = os.pipe()
    child = os.fork()
    if child == 0:
        # A child of a child gets init as its parent, so that the node has no child that it does not know.
        os.setsid()
        if os.fork() == 0:
            os.close(go)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):  # Somebody waits for the end of what the node writes there.
                os.dup2(nothing, descriptor)
            try:
                run = watch(pid, directory, ready)
            except Exception as error:
                run = {"failure": repr(error)}
            (directory / "run.part").write_text(json.dumps({"pid": pid, "arguments": sys.argv[1:], **run}))
            (directory / "run.part").rename(directory / "run.json")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(ready)
    os.read(go, 1)
    os.close(go)
    os.execv(node, [node, *sys.argv[1:]])


if __name__ == "__main__":
    main()
