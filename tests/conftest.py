"Shared by all tests: the repository on the path, the slow tests behind `--all`, what each stage cost, and the closing line."

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
SHARED = (
    "PYTEST_XDIST_WORKER" in os.environ
)  # one of several processes that share the cores
if SHARED:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # before PyTorch starts: spinning threads make a busy machine many times slower
sys.path.insert(0, str(ROOT))  # for the book package, which is not part of the wheel
os.register_at_fork(
    after_in_child=lambda: tqdm.set_lock(threading.RLock())
)  # the usual one is shared: a child that is killed inside would lock us out
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in `nohup make test &`
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
LAST = ["test_notebooks", "test_book"]  # minutes: after all that fails in seconds
# among several workers the longest starts first, so that what ends last is short
FIRST = """test_book test_widgets test_cli test_evaluate test_multi test_device
test_front test_resume""".split()
spent = Counter()  # stage → processor seconds; a stage is a file of tests or, indented, a notebook that one of them runs


def pytest_addoption(parser):
    parser.addoption(
        "--all",
        action="store_true",
        help="also run what takes minutes: the notebooks, the wheel, the book, the browser",
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "slow: takes minutes; runs with --all (make test)"
    )


def pytest_collection_modifyitems(config, items):
    place = {name: i - len(FIRST) for i, name in enumerate(FIRST)}
    if not SHARED:
        place = {name: i for i, name in enumerate(LAST, 1)}
    items.sort(
        key=lambda item: place.get(item.path.stem, 0)
    )  # stable: the rest keeps its order
    if not config.getoption("--all"):
        slow = [
            item
            for item in items
            if item.get_closest_marker("slow") or "chrome" in item.fixturenames
        ]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def processor_seconds():
    "Of this process and of those that it has waited for."
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    before = processor_seconds()
    result = yield
    spent[item.path.stem] += processor_seconds() - before
    return result


def pytest_sessionfinish(session):
    if SHARED:
        session.config.workeroutput["spent"] = dict(spent)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    spent.update(getattr(node, "workeroutput", {}).get("spent", {}))


@pytest.fixture(scope="session", name="spent")
def spent_():
    "Where a test notes what a stage of its own has cost."
    return spent


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--all"):
        terminalreporter.section(
            "processor seconds of each stage, the notebooks' share of test_book indented"
        )
        for stage, seconds in sorted(
            spent.items(), key=lambda item: (item[0].startswith(" "), -item[1])
        ):
            if seconds >= 1:
                terminalreporter.write_line(f"{seconds:6.0f}  {stage}")
        terminalreporter.write_line(
            f"{sum(s for name, s in spent.items() if not name.startswith(' ')):6.0f}  in all"
        )
    count = {
        name: len(terminalreporter.stats.get(name, []))
        for name in ("passed", "failed", "error", "skipped", "xfailed")
    }
    config.closing = f"{count['passed']} passed, {count['failed'] + count['error']} failed, {count['skipped'] + count['xfailed']} skipped"


def pytest_unconfigure(config):
    if hasattr(config, "closing"):
        print(config.closing)


@pytest.fixture(scope="session")
def chrome():
    "One browser for all tests: Playwright runs no two at a time in a process."
    from book.browser import browser

    with browser() as started:
        yield started
