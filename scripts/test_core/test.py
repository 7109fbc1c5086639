"""Runs one of Bitcoin Core's functional tests, and asks each node before it is stopped what it counted of its peers.

In: the path of the test and its arguments; in the environment the directory TEST_CORE_RUNS. Out: what the test prints and its status;
a line of JSON in `peers` there for each node that was asked: its pid, a time, and getpeerinfo of that time.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

# Nothing may be in flight between two equal answers, so that they hold for any moment between them.
QUIET = 0.15
TRIES = 10


def counts(peers):
    return [(peer["id"], peer["bytesrecv_per_msg"], peer["bytessent_per_msg"]) for peer in peers]


def rpc_of(node):
    """By its name in newer releases of Bitcoin Core, and in older ones."""
    return node.__dict__.get("_rpc") or node.__dict__.get("rpc")


def ask(node):
    """What a node counted, and at which time; nothing if nobody is connected."""
    before = rpc_of(node).getpeerinfo()
    for _ in range(TRIES):
        if not before:
            return None
        start = time.time()
        time.sleep(QUIET)
        peers = rpc_of(node).getpeerinfo()
        if counts(peers) == counts(before):
            return {"pid": node.process.pid, "time": start + QUIET / 2, "peers": peers}
        before = peers
    return {"pid": node.process.pid, "busy": True}


def asking_first(stop):
    def stop_node(self, *args, **kwargs):
        answer = None
        try:
            if self.running and rpc_of(self) is not None:
                answer = ask(self)
        except Exception as error:  # Tests break connections and forbid calls; what it is then for is theirs.
            print(f"getpeerinfo: {error!r}")
        if answer is not None:
            with Path(os.environ["TEST_CORE_RUNS"], "peers").open("a") as file:
                file.write(json.dumps(answer, default=float) + "\n")
        return stop(self, *args, **kwargs)

    return stop_node


if __name__ == "__main__":
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    from test_framework.test_node import TestNode

    TestNode.stop_node = asking_first(TestNode.stop_node)
    runpy.run_path(sys.argv[0], run_name="__main__")
