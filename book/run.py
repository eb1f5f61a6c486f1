"""Run several notebooks at a time, the longest first, and say how far they are and how long it will take."""

import heapq
import json
import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .execute import ChapterFailed, execute
from .project import ROOT, read_notebook

console = Console(highlight=False, markup=False, soft_wrap=True)


def cores():
    "The cores that this process may use."
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


def places(count, jobs=None, threads=None):
    "(How many notebooks run at a time, threads of each) for `count` notebooks: a core each, four at most for the memory's sake; cores that are left are shared out."
    jobs = max(1, min(jobs or min(cores(), 4), count))
    return jobs, threads or max(1, min(4, cores() // jobs))


def recorded_times(profile):
    "Notebook → seconds, as `make bench NAME=book` has recorded them on some machine; {} for a profile that was not measured."
    result = json.loads((ROOT / "benchmarks/results/book.json").read_text())
    return (
        {row["notebook"]: float(row["run, s"]) for row in result["rows"]}
        if f"`{profile}`" in result["title"]
        else {}
    )


def duration(seconds):
    "12 s, 3 min 20 s."
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    )


class Left:
    """An estimate of the time that is left. A notebook is expected to take as long as its last run here, else as recorded, else as the average of the others.
    All are multiplied by the factor by which those that have ended took longer or shorter. One more counts in it, as long as the longest and exactly as expected,
    because a chapter that was changed says little about the others."""

    def __init__(self, todo, jobs, recorded):
        times = {
            c.name: (c.record or {}).get("seconds") or recorded.get(c.name)
            for c in todo
        }
        self.jobs, self.times, self.took = jobs, times, {}

    def measured(self):
        "Notebook → seconds, of those that have ended well."
        return {name: t for name, t in self.took.copy().items() if t is not None}

    def expected(self):
        "Notebook → seconds; where no earlier run of any is known, by the average of those that have ended; 0 for all before that."
        known = [t for t in self.times.values() if t] or [*self.measured().values()]
        mean = sum(known) / len(known) if known else 0.0
        return {name: t or mean for name, t in self.times.items()}

    def order(self, todo):
        "The notebooks as they should start: the longest first, so that the last ones to end are short."
        expected = self.expected()
        return sorted(todo, key=lambda c: -expected[c.name])

    def end(self, name, seconds=None):
        "Remember that a notebook has ended; the time that a failure took says nothing about the others."
        self.took[name] = seconds

    def __call__(self, running):
        "Seconds left, while the notebooks `running` (name → seconds so far) run; None if nothing is known."
        expected, measured = self.expected(), self.measured()
        if not any(expected.values()):
            return None
        known = max(expected.values())
        scale = (known + sum(measured.values())) / (
            known + sum(expected[n] for n in measured)
        )
        busy = [
            max(0.0, scale * expected[name] - so_far)
            for name, so_far in running.items()
        ]
        ends = busy + [0.0] * (self.jobs - len(busy))
        heapq.heapify(ends)
        for seconds in sorted(
            (t for n, t in expected.items() if n not in self.took and n not in running),
            reverse=True,
        ):
            heapq.heapreplace(ends, ends[0] + scale * seconds)
        return max(ends)


class Shown:
    "What the terminal shows: a live line for each notebook that runs and one for the whole; elsewhere a printed line when one starts and when it ends."

    def __init__(self, total, left):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self.live = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self.left, self.lines, self.begun = left, {}, {}
        self.whole = self.live.add_task("in all", total=total, now="")

    def rest(self):
        "`about 3 min 20 s left`, or why that is not known."
        now = time.monotonic()
        seconds = self.left(
            {name: now - begun for name, begun in self.begun.copy().items()}
        )
        return (
            "first run: no estimate"
            if seconds is None
            else f"about {duration(seconds)} left"
        )

    def start(self, name):
        self.begun[name] = time.monotonic()
        self.lines[name] = self.live.add_task(name, total=None, now="")
        if not console.is_terminal:
            console.print(f"run     {name}   ({self.rest()})")

    def tick(self, name, cell, cells):
        self.live.update(
            self.lines[name],
            completed=cell,
            total=cells,
            now=f"cell {cell} of {cells}, {duration(time.monotonic() - self.begun[name])}",
        )

    def end(self, name, said):
        del self.begun[name]
        self.live.remove_task(self.lines.pop(name))
        self.live.advance(self.whole)
        console.print(said)

    def refresh(self):
        self.live.update(self.whole, now=self.rest())


def run_chapters(todo, profile, jobs, threads):
    """Execute notebooks, `jobs` at a time; the names of those that failed, each of which has been told when it happened. Ctrl-C ends the running ones, and is
    passed on; those that have ended are kept."""
    left, stopped, failed, started = (
        Left(todo, jobs, recorded_times(profile)),
        threading.Event(),
        [],
        time.monotonic(),
    )
    shown = Shown(len(todo), left)

    def run(chapter):
        "In a thread: execute one."
        shown.start(chapter.name)
        # papermill adds a cell with the parameters
        cells = len(read_notebook(chapter.path)["cells"]) + bool(chapter.parameters)

        def tick(cell):
            shown.tick(chapter.name, min(cell, cells), cells)
            if stopped.is_set():
                raise ChapterFailed("interrupted")

        return execute(
            chapter.path,
            chapter.out,
            profile,
            chapter.parameters,
            threads=threads,
            jobs=jobs,
            tick=tick,
        )

    def ended(chapter, future):
        "Tell how it went."
        try:
            left.end(chapter.name, future.result())
            shown.end(
                chapter.name, f"done    {chapter.name}   {duration(future.result())}"
            )
        except Exception as error:  # whatever it is, the others go on
            left.end(chapter.name)
            failed.append(chapter.name)
            told = isinstance(error, ChapterFailed)
            said = error if told else f"{type(error).__name__}: {error}"
            shown.end(
                chapter.name, f"\nFAILED  {chapter.name} (profile {profile}): {said}\n"
            )

    pool = ThreadPoolExecutor(jobs)
    try:
        with shown.live:
            waiting = {
                pool.submit(run, chapter): chapter for chapter in left.order(todo)
            }
            while waiting:
                for future in wait(
                    waiting, timeout=0.5, return_when=FIRST_COMPLETED
                ).done:
                    ended(waiting.pop(future), future)
                shown.refresh()
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
    if len(todo) > 1:
        console.print(
            f"{len(todo) - len(failed)} notebooks in {duration(time.monotonic() - started)}"
        )
    return failed
