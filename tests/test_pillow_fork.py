"""Forked processes decode with the Pillow plugin, whatever the parent's threads are doing.

Every case runs in a process of its own, with two threads of torch: those do not survive a fork.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "golden" / "v3-rgb-t30-effort8-odd.dfc"

START = f"""
import os, signal, threading
import numpy as np
from PIL import Image
import diffcodec.pillow_plugin as plugin

def decoded(number=0):
    with Image.open({str(FILE)!r}) as image:
        return np.asarray(image)

def check_in_child():
    child = os.fork()
    if child == 0:
        signal.alarm(500)  # ends it if it waits forever
        os._exit(0 if np.array_equal(decoded(), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
"""

AFTER = """
expected = decoded()
check_in_child()
"""

DURING = """
from diffcodec.codec import DiffusionCodec

expected, plain = decoded(), DiffusionCodec.decompress
started, may_go_on = threading.Event(), threading.Event()

def waiting(*arguments, **options):
    started.set()
    may_go_on.wait()
    return plain(*arguments, **options)

DiffusionCodec.decompress = waiting
thread = threading.Thread(target=decoded)
thread.start()
started.wait()
DiffusionCodec.decompress = plain
check_in_child()
may_go_on.set()
thread.join()
assert np.array_equal(decoded(), expected)
"""

LOADER = """
import torch

expected = decoded()

class Files(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, number):
        return decoded(number)

loader = torch.utils.data.DataLoader(Files(), batch_size=2, num_workers=2, multiprocessing_context="fork")
for batch in loader:
    assert all(np.array_equal(pixels, expected) for pixels in batch.numpy())
"""

THREADS = """
from concurrent.futures import ThreadPoolExecutor

expected = decoded()
with ThreadPoolExecutor(8) as threads:
    for pixels in threads.map(decoded, range(16)):
        assert np.array_equal(pixels, expected)
    check_in_child()
"""


SLOW_PROGRAMS = {DURING: "during", LOADER: "loader", THREADS: "threads"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(AFTER, id="after"),
        *(pytest.param(each, id=name, marks=pytest.mark.slow) for each, name in SLOW_PROGRAMS.items()),
    ],
)
def test_forked_processes_decode(program: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    # The time only ends what would wait forever.
    done = subprocess.run(
        [sys.executable, "-c", START + program], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
