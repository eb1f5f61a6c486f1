"Shared by all tests: the repository on the path, the slow tests behind `--all`, and the closing line."
import os
import sys
import threading
from pathlib import Path

import pytest
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch starts: spinning threads make a busy machine many times slower
sys.path.insert(0, str(ROOT))  # for the book package, which is not part of the wheel
os.register_at_fork(after_in_child=lambda: tqdm.set_lock(threading.RLock()))  # the usual one is shared: a child that is killed inside would lock us out
LAST = ("test_notebooks", "test_book")  # minutes: after everything that fails in seconds


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="also run what takes minutes: the notebooks, the wheel, the book, the browser")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; runs with --all (make test)")


def pytest_collection_modifyitems(config, items):
    place = {name: i for i, name in enumerate(LAST, 1)}
    items.sort(key=lambda item: place.get(item.path.stem, 0))  # stable: the rest keeps its order
    if not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_terminal_summary(terminalreporter, config):
    count = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped", "xfailed")}
    config.closing = (f"{count['passed']} passed, {count['failed'] + count['error']} failed, {count['skipped'] + count['xfailed']} skipped")


def pytest_unconfigure(config):
    if hasattr(config, "closing"):
        print(config.closing)


@pytest.fixture(scope="session")
def chrome():
    "One browser for all tests: Playwright runs no two at a time in a process."
    from book.browser import browser

    with browser() as started:
        yield started
