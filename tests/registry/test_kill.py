# SPDX-License-Identifier: Apache-2.0
"""Runs that are ended at any moment, by force or politely: what is on the ESP is always good, and the next run goes on
where this one was. The seed is printed; TB_KILL_SEED repeats a run, TB_KILLS sets how many kills there are of each kind."""
import collections
import os
import random
import signal
import time

import misdeeds
import pytest
from tools import tar, tree

MIB = 1 << 20
SIZE = 4 * MIB
RATE = 8 * MIB
# What may have left the server and not have reached the disk: buffers of the kernel, of TLS, of the pipe to the parent.
IN_FLIGHT = MIB // 2
# The configuration of an image, which is a blob as well, and is read in each run.
DOCUMENTS = 10000
KILLS = int(os.environ.get("TB_KILLS", "3" if os.environ.get("TB_FAST") else "25"))

@pytest.fixture
def image(images):
    return images.get(2, size=SIZE)


@pytest.fixture(params=["raw", "zstd", "gzip", "file"])
def source(request, registry, image):
    registry.on("blob|files", misdeeds.paced(RATE))
    if request.param == "file":
        registry.files["x"] = image
        return f"{registry.url}/files/x"
    if request.param == "raw":
        registry.put_artifact("demo", image)
    else:
        registry.put_image("demo", [(tar(tree(image)), request.param)])
    return f"oci:{registry.address}/demo"


@pytest.fixture
def dice(request):
    seed = os.environ.get("TB_KILL_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"TB_KILL_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


class Trial:
    """A node with a source, and what a run to the end costs."""

    def __init__(self, node, registry, authority, source, image, tmp_path):
        self.node, self.registry, self.source, self.image = node, registry, source, image
        # The kernel may still be clearing away the run before.
        self.options = ("--ca", authority.pem, "--same-boot", "--wait", "10")
        self.nameless = source.startswith("https:")
        self.excess = []            # bytes per kill that were loaded twice
        self.good = [image, node.role("active")]
        self.place = tmp_path / "trial"
        whole = node.copy(self.place)
        result = whole.upgrade(source, *self.options)
        assert result.rc == 0, str(result)
        self.seconds, self.bytes = result.seconds, registry.sent()
        downloaded = max(r.when for r in registry.seen("blob|files")) + self.bytes / RATE
        self.tail = max(time.monotonic() - downloaded, 0.1)
        assert self.bytes <= len(image) * 1.02

    def start(self):
        self.registry.requests.clear()
        self.again = 0
        return self.node.copy(self.place)

    def begin(self, node):
        # Nothing says in advance what a plain file holds: a node that has it loads it again to find out.
        if self.nameless and self.image in node.images("active"):
            self.again += self.bytes
        return node.begin_upgrade(self.source, *self.options, measured=False)

    def whole(self):
        return self.registry.sent() >= self.bytes

    def moment(self, run, dice):
        """Waits for a random moment of the run: anywhere, or in the short time after the last byte was sent, where the
        images change their roles. Returns whether the run is still alive then."""
        if dice.random() < 0.5:
            return not run.ended(dice.uniform(0, self.seconds * 1.1))
        while not self.whole():
            if run.ended(0.002):
                return False
        return not run.ended(dice.uniform(0, self.tail))

    def finish(self, node, kills):
        """A run that nobody disturbs."""
        result = self.begin(node).wait()
        assert result.rc == 0, str(result)
        assert node.role("active") == self.image
        assert node.role("passive") == self.good[1]
        assert node.check(self.good) == [], "garbage stays"
        sent = self.registry.sent()
        limit = self.bytes + self.again + kills * (IN_FLIGHT + DOCUMENTS) + DOCUMENTS
        assert sent <= limit, f"{sent} bytes for {self.bytes} with {kills} kills"
        self.excess.append((sent - self.bytes - self.again) // max(kills, 1))


@pytest.fixture
def trial(node, registry, authority, source, image, tmp_path):
    return Trial(node, registry, authority, source, image, tmp_path)


def test_killed_at_any_moment(trial, dice):
    killed, found = 0, collections.Counter()
    while killed < KILLS:
        node, kills = trial.start(), 0
        while kills < 6:
            run = trial.begin(node)
            alive = trial.moment(run, dice)
            run.kill()
            result = run.wait()
            stray = node.check(trial.good)
            if not alive:
                assert result.rc == 0, str(result)
                break
            kills += 1
            found[f"{len(stray)} partial image, {sorted(node.entries())}"] += 1
        trial.finish(node, kills)
        if not trial.nameless:
            again = trial.registry.sent()
            trial.finish(node, kills)
            assert trial.registry.sent() - again <= DOCUMENTS, "a run after the last one loads no image"
        killed += kills
    print(f"{killed} kills, at most {max(trial.excess)} bytes for each loaded twice; found after them: {dict(found)}")


def test_asked_to_stop_at_any_moment(trial, dice):
    for _ in range(6):
        node = trial.start()
        run = trial.begin(node)
        if not trial.moment(run, dice):
            assert run.wait().rc == 0
            continue
        asked = time.monotonic()
        # A terminal tells the whole group, a supervisor the first process.
        if dice.random() < 0.5:
            run.kill(signal.SIGINT)
        else:
            run.process.send_signal(signal.SIGTERM)
        result = run.wait()
        # It may not have come to listen to signals yet.
        assert time.monotonic() - asked < 5 and (result.rc in (0, 11) or result.rc < 0 and result.seconds < 1), str(result)
        node.check(trial.good)
        trial.finish(node, 1)


@pytest.mark.parametrize("stall", ["body", "head", "retry", "connect"])
def test_asked_to_stop_while_nothing_moves(node, registry, authority, image, stall):
    registry.put_artifact("demo", image)
    source = f"oci:{registry.address}/demo"
    if stall == "connect":
        registry.converse = lambda connection: registry.stopping.wait()
    else:
        registry.on("blob", {"body": misdeeds.slow_body(10, after=MIB), "head": misdeeds.slow_head(1),
                             "retry": misdeeds.retry_after_seconds(100)}[stall])
    before = node.boot_path()
    run = node.begin_upgrade(source, "--ca", authority.pem, measured=False)
    while not (registry.accepted if stall == "connect" else registry.seen("blob")):
        assert not run.ended(0.01)
    run.ended(0.3)
    asked = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    result = run.wait()
    assert result.rc == 11 and time.monotonic() - asked < 5, str(result)
    assert node.boot_path() == before


def test_two_at_once(node, registry, authority, image):
    registry.on("blob", misdeeds.paced(RATE))
    registry.put_artifact("demo", image)
    source, ca = f"oci:{registry.address}/demo", ("--ca", authority.pem)
    first = node.begin_upgrade(source, *ca)
    while not registry.seen("blob"):
        assert not first.ended(0.01)
    assert node.upgrade(source, *ca, "--wait", "0").rc == 8
    second = node.begin_upgrade(source, *ca, "--wait", "60")
    assert first.wait().rc == 0
    assert second.wait().rc == 0
    assert node.role("active") == image and registry.sent() <= len(image) * 1.02


def test_no_process_stays_behind(node, registry, authority, image):
    """The child that talks to the network ends with the agent, even if only the agent is killed."""
    registry.put_artifact("demo", image)
    registry.on("blob", misdeeds.slow_body(10, after=MIB))
    run = node.begin_upgrade(f"oci:{registry.address}/demo", "--ca", authority.pem, measured=False)
    while not registry.seen("blob"):
        assert not run.ended(0.01)
    run.process.kill()
    run.wait()
    deadline = time.monotonic() + 10
    while any(_group(pid) == run.process.pid for pid in os.listdir("/proc") if pid.isdigit()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _group(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            state, _, group = f.read().rpartition(b")")[2].split()[:3]
        return None if state == b"Z" else int(group)
    except OSError:
        return None
