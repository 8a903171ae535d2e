"""What was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

MANY = """
import resource, sys, threading
from reconciler import allocator
allocator.steady()
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def work():
    held = [bytearray(2000) for _ in range(20000)]
    kept.append(bytearray(2000))  # after all that goes: nothing below it is given back by itself
kept, before = [], rss()
threads = [threading.Thread(target=work) for _ in range(8)]
[each.start() for each in threads]; [each.join() for each in threads]
left = rss() - before
allocator.give_back()
print(left, rss() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give back by themselves, and have no /proc to ask")
def test_what_threads_freed_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=60)
    left, after = map(int, done.stdout.split())
    assert after < 8 << 20, done.stdout
    assert left > after, "there was something to give back"
