"""The memory of a warm run, in a process of its own."""

import subprocess
import sys

from settings import ROOT


def test_a_run_beyond_its_memory_is_refused_more_of_it() -> None:
    code = """
from workers.child import limit_memory
limit_memory(300 * 2**20)
kept = bytearray(100 * 2**20)
try:
    bytearray(400 * 2**20)
except MemoryError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
