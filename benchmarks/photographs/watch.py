"""Runs a command, and prints its seconds and its peak memory as JSON: python watch.py COMMAND ...

In a small process of its own, since what a process has had before it starts a program counts as the program's memory.
"""

import json
import resource
import subprocess
import sys
import time


def main(command: list[str]) -> int:
    """Run the command; its exit status."""
    begin = time.perf_counter()
    status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_bytes": peak if sys.platform == "darwin" else 1024 * peak}))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
