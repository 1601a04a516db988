# SPDX-License-Identifier: Apache-2.0
"""A sample of calls that fail, and whether the judges see what they are there for. "make failcalls" has all of them fail.

The places of the code are the sample's population; each story tries its share, always the same ones for the same code.
"""
import subprocess
from dataclasses import replace

import pytest
from failcalls import PROGRAMS, Trial
from stories import Stage, make

# One in so many places: some minutes of one processor, of which most is spent in what the sanitizers add.
SAMPLE = {"verify": 3, "upgrade": 5, "config": 2, "install": 8, "tb": 6}
NODE = {"reset": 12, "enroll-tpm": 5, "enroll-recovery-key": 5, "enroll-remove": 5, "volume": 5, "unseal": 3, "floor": 4, "bless": 5,
        "bootentry": 3, "bootorder": 3}
NAMES = ["upgrade-file", "upgrade-layout", "upgrade-ocifile", "upgrade-oci", "upgrade-dir---recovery", "verify-file", "verify-ocifile",
         "config-check", "config-show", "config-user-data", "install-image", "tb-image-keys", "tb-image-usi", "tb-image-sign",
         "tb-image-upgrade-image", "tb-image-iso"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def stories(stage, tmp_path_factory):
    made = make(stage, tmp_path_factory.mktemp("stories"))
    assert sorted(made) == sorted(NAMES)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_calls_fail(stories, name):
    trial = Trial(stories[name])
    faults = trial.faults(deep=False)[NAMES.index(name)::SAMPLE[name.split("-")[0]]]
    assert faults, "no call of the program was seen"
    wrong = [w for w in map(trial.judge, faults) if w]
    assert not wrong, "\n\n".join(wrong)
    assert any(rc != 0 for rc in trial.told), "nothing that failed made a difference"


@pytest.mark.parametrize("name", NODE)
def test_calls_of_the_node_fail(name, tmp_path):
    done = subprocess.run([PROGRAMS / "node", "--from", "1", "--stride", str(NODE[name]), name], capture_output=True, text=True,
                          timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    assert f"{name}: " in done.stdout and " 0 of " not in done.stdout


# --- who judges the judges -------------------------------------------------------------------------------------------

CRASH, LEAK, SUCCEED, REFUSE = range(1000, 1004)        # failcalls.h
SEEN = [(CRASH, "crashed or leaked"), (LEAK, "crashed or leaked"), (SUCCEED, "not as promised"), (REFUSE, "told as something else")]


@pytest.mark.parametrize("misdeed, words", SEEN)
@pytest.mark.parametrize("name", ["upgrade-file", "install-image"])
def test_judges_see_a_broken_program(stories, name, misdeed, words):
    """One that crashes, leaks, claims success or refuses the image at some call on its way."""
    trial = Trial(stories[name])
    faults = trial.faults(deep=False)
    said = trial.judge(replace(faults[len(faults) // 2], error=misdeed))
    assert said and words in said.splitlines()[0], said


@pytest.mark.parametrize("misdeed", [CRASH, LEAK, SUCCEED, REFUSE])
def test_judges_of_the_node_see_it_too(misdeed):
    done = subprocess.run([PROGRAMS / "node", "--from", "9", "--stride", "9", "--misdeed", str(misdeed), "bootorder"],
                          capture_output=True, text=True, timeout=280)
    assert done.returncode == 1 and "bootorder: 1 of" in done.stdout and ", 1 wrong" in done.stdout, done.stdout
