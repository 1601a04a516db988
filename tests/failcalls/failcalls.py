# SPDX-License-Identifier: Apache-2.0
"""Runs a program again and again, each time with another of its calls failing, and judges what it says and leaves.

A story says how a run begins, what is run, and what has to be true of its end. Which calls there are to fail is learned from
a run in which none does; calls with the same callers are tried once (the first, and the last of them).
"""
import mmap
import os
import re
import struct
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.setdefault("TB_BUILD", str(TOP / "build/asan")))
PROGRAMS = BUILD / "failcalls"
SANITIZER = 99
SECONDS = 120
HEAD, RECORD = struct.Struct("8I"), struct.Struct("4I2Q")
RECORDS = 1 << 19

# Exit codes (base/error.h).
INTERNAL, USAGE, NOTHING, CONFIG, SOURCE, REFUSED, SPACE, BUSY, IO, PRECONDITION, INTERRUPTED = range(1, 12)
# What a failed call may be told as. Never as a verdict about what the user gave: words, configuration, image.
TRUTHFUL = {INTERNAL, SOURCE, SPACE, BUSY, IO, PRECONDITION, INTERRUPTED}


def table():
    """The lines of calls.def: (name, its errors)."""
    text = (TOP / "tests/failcalls/calls.def").read_text()
    words = dict(re.findall(r"^#define (\w+) +(.*?)(?: +/\*.*)?$", (TOP / "tests/failcalls/failcalls.c").read_text(), re.M))
    lines = re.findall(r"^CALL\((\w+), \w+, (\w+)\)$", text, re.M)
    return [(name, [e.strip("() ") for e in words[errors].split(",")]) for name, errors in lines]


CALLS = table()


@dataclass(frozen=True)
class Fault:
    process: int
    call: int
    name: int
    site: int
    stack: int
    error: int

    def __str__(self):
        name, errors = CALLS[self.name]
        way = errors[self.error] if self.error < len(errors) else self.error
        return f"{name} -> {way} at {self.site:#x} (call {self.call} of process {self.process})"


class Control:
    """The memory that is shared with the program (failcalls.h)."""

    def __init__(self, path):
        self.path = path

    def _map(self, record, process, call, error):
        with open(self.path, "w+b") as f:
            f.truncate(HEAD.size + RECORDS * RECORD.size)
            f.write(HEAD.pack(record, process, call, error, 0, 0, 0, 0))

    def prepare(self, fault=None):
        if fault:
            self._map(0, fault.process, fault.call, fault.error)
        else:
            self._map(1, 0, 0, 0)

    def read(self):
        """Whether a call failed, and the records."""
        with open(self.path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
            head = HEAD.unpack_from(m)
            n = min(head[6], RECORDS)
            return bool(head[4]), [RECORD.unpack_from(m, HEAD.size + i * RECORD.size) for i in range(n)]


@dataclass
class End:
    rc: int             # negative: ended by that signal; None: no end
    out: str
    err: str


class Story:
    """What is done: overridden by each."""
    program = "tb-agent"
    env = {}
    again = ()          # words more for the run that goes on after a failed one

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        folder.mkdir(parents=True)

    def begin(self):
        """Makes the world that a run finds."""

    def begin_again(self):
        """Before the run that goes on after a failed one."""

    def argv(self):
        raise NotImplementedError

    def check(self, end):
        """Raises AssertionError when what is there contradicts the invariants, or the exit code."""

    def run(self, control=None, more=()):
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder), "TMPDIR": str(self.folder),
               "ASAN_OPTIONS": f"detect_leaks=1:exitcode={SANITIZER}:abort_on_error=0",
               "UBSAN_OPTIONS": f"exitcode={SANITIZER}:print_stacktrace=1", "LSAN_OPTIONS": f"exitcode={SANITIZER}", **self.env}
        if control:
            env["TB_FAILCALLS"] = str(control.path)
        try:
            done = subprocess.run([str(a) for a in [PROGRAMS / self.program, *self.argv(), *more]], env=env,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return End(None, "", "")
        return End(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


class Trial:
    """All about one story."""

    def __init__(self, story):
        self.story, self.control = story, Control(story.folder / "failcalls")
        self.told = {}          # exit code -> how often

    def record(self):
        """The calls of a run in which none fails."""
        self.story.begin()
        self.control.prepare()
        end = self.story.run(self.control)
        assert end.rc == 0, (self.story.name, end)
        self.story.check(end)
        return self.control.read()[1]

    def faults(self, deep):
        """deep: each path to a call, first and last time, in all its ways; else each place of the code once."""
        groups = {}
        for process, call, name, errors, site, stack in self.record():
            groups.setdefault((min(process, 1), name, site, stack if deep else 0), []).append((process, call, name, errors, site, stack))
        found = []
        for i, group in enumerate(groups.values()):
            for process, call, name, errors, site, stack in {group[0], group[-1]} if deep else {group[0]}:
                ways = range(errors) if deep else [i % errors]
                found += [Fault(process, call, name, site, stack, way) for way in ways]
        return found

    def judge(self, fault):
        """None, or what is wrong."""
        self.story.begin()
        self.control.prepare(fault)
        end = self.story.run(self.control)
        failed, records = self.control.read()
        self.told[end.rc] = self.told.get(end.rc, 0) + 1
        wrong = self.wrong_with(end) or self.wrong_again()
        if not wrong:
            return None
        if failed:          # two processes that talk to each other do not always make the same calls
            _, _, name, _, site, stack = records[0]
            fault = replace(fault, name=name, site=site, stack=stack)
        return (f"{wrong}\nafter {self.story.name}: {fault} {place(self.story.program, fault.site)}"
                f"{'' if failed else ' (not reached)'}: exit {end.rc}\n{end.out[-600:]}\n{end.err[-3000:]}")

    def wrong_with(self, end):
        if end.rc is None:
            return "no end"
        if end.rc < 0 or end.rc == SANITIZER or "Sanitizer" in end.err or "runtime error:" in end.err:
            return "crashed or leaked"
        if end.rc != 0 and end.rc not in TRUTHFUL:
            return "told as something else"
        try:
            self.story.check(end)
        except Exception as wrong:          # whatever a reader of broken files stumbles over
            return f"not as promised: {type(wrong).__name__} {str(wrong)[:2000]}"
        return None

    def wrong_again(self):
        self.story.begin_again()
        again = self.story.run(more=self.story.again)
        if again.rc != 0:
            return f"failed again: exit {again.rc} {again.out[-600:]} {again.err[-2000:]}"
        wrong = self.wrong_with(again)
        return wrong and f"again {wrong}"


def place(program, site):
    done = subprocess.run(["addr2line", "-f", "-s", "-i", "-e", PROGRAMS / program, hex(site - 1)], capture_output=True, text=True)
    return " < ".join(done.stdout.split())
