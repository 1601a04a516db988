# SPDX-License-Identifier: Apache-2.0
"""Every disk that a power cut could leave behind while a node is installed, upgraded, enrolled or reset is one that it comes back
from. The long form of this is "make faults". And the same eyes see what a careless agent would leave."""
import shutil
from pathlib import Path

import pytest

from faults import boots
from faults.record import Recorder
from faults.replay import explore
from faults.stories import LIVE_DISK, short_story, upgrade_story
from rig.esp import run

SAMPLES = 12                    # of each group of writes; "make faults" takes more
REPAIRS = 3                     # of each operation
MISDEED = '/run/misdeed.so'


@pytest.fixture
def images(workshop):
    return {'v1': workshop.usi(), 'v2': workshop.usi('v2', version=2)}


@pytest.fixture
def place(workshop, request):
    path = workshop.work / 'tests' / request.node.name
    yield path
    if not getattr(request.node, 'failed', False):
        shutil.rmtree(path, ignore_errors=True)


def told(chapter, count):
    return f'{chapter.name}: {count.bad} of {count.states} states are bad: {dict(count.broken)} {count.examples[:3]}'


def misdeed(workshop, what):
    """A command of the guest that runs a careless agent, as a function of what records it."""
    library = workshop.work / 'misdeed.so'
    run('cc', '-shared', '-fPIC', '-D_GNU_SOURCE', '-o', library, Path(__file__).parent / 'guest/misdeed.c')

    def under(recorder):
        recorder.machine.write(MISDEED, library.read_bytes())
        return 'env', f'LD_PRELOAD={MISDEED}', f'MISDEED={what}'
    return under


def test_no_power_cut_during_an_upgrade_is_fatal(workshop, images, place):
    with Recorder(workshop, place, images) as recorder:
        upgrade_story(recorder)
        record = recorder.end()
    counts = {chapter.name: (chapter, count) for chapter, count, _ in explore(record, SAMPLES, repairs=REPAIRS)}
    for chapter, count in counts.values():
        assert count.bad == 0, told(chapter, count)
    chapter, count = counts['upgrade']
    assert count.states > 100 and {'prefix', 'subset', 'torn'} <= set(count.kinds), vars(count)
    assert count.repaired > 0 and count.bad_repaired == 0, vars(count)
    # What is seen is what happens: the old image starts first, then the new one.
    assert set(count.firsts) == {'active v1', 'active v2'}, count.firsts


def test_no_power_cut_from_an_installation_to_a_reset_is_fatal(workshop, images, place):
    with Recorder(workshop, place, {'v1': images['v1']}, live=LIVE_DISK) as recorder:
        short_story(recorder, misdeed(workshop, 'nosync'))
        record = recorder.end()
    counts = {chapter.name: (chapter, count) for chapter, count, _ in explore(record, SAMPLES, repairs=REPAIRS)}
    for name, (chapter, count) in counts.items():
        assert count.bad_repaired == 0 or name.startswith('careless'), told(chapter, count)
        assert (count.bad > 0) is name.startswith('careless'), told(chapter, count)
        assert count.states > 10, name
    # What is seen is what happens.
    assert set(counts['install'][1].outcomes) == {'nothing', 'new'}, counts['install'][1].outcomes
    assert set(counts['reset'][1].outcomes) >= {'old', 'pending', 'new'}, counts['reset'][1].outcomes
    # Nothing plain is among what was written to the encrypted partitions.
    assert counts['install'][1].sectors > 1000 and counts['first boot'][1].sectors > 1000
    chapter, count = counts['reset']
    pending = count.picks['pending', 'subset'][:1]
    started = boots.start(workshop, record, chapter, pending, place / 'boot')
    assert started.tried == 1 and started.bad == [], started.bad


def test_careless_upgrades_are_found_out(workshop, images, place):
    """Without durable writes, and with a rename where an entry is written in place."""
    with Recorder(workshop, place, images) as recorder:
        recorder.boot()
        holds = {'stay': frozenset({'v1'}), 'recovery': frozenset({'v1', 'v2'})}
        for what, options in (('rename', ['--recovery']), ('nosync', [])):
            under = misdeed(workshop, what)(recorder)
            recorder.operation(what, recorder.upgrade_command('v2', *options), under, **holds)
        record = recorder.end()
    for chapter, count, _ in explore(record, SAMPLES):
        assert count.bad > 0, told(chapter, count)
