# SPDX-License-Identifier: Apache-2.0
"""Every disk that a power cut could leave behind while a node is upgraded is one that it comes back from. The long form of
this is "make faults". And the same eyes see what a careless agent would leave."""
import shutil
from pathlib import Path

import pytest

from faults.stories import Recorder, explore, upgrade_story
from rig.esp import run

SAMPLES = 12                    # of each group of writes; "make faults" takes more
MISDEED = '/usr/local/misdeed.so'


@pytest.fixture(scope='module')
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


def test_no_power_cut_during_an_upgrade_is_fatal(workshop, images, place):
    with Recorder(workshop, place, images) as recorder:
        upgrade_story(recorder)
        recorder.end()
    counts = {chapter.name: (chapter, count) for chapter, count in explore(recorder, SAMPLES)}
    for chapter, count in counts.values():
        assert count.bad == 0, told(chapter, count)
    chapter, count = counts['upgrade']
    assert count.states > 100 and {'prefix', 'subset', 'torn'} <= set(count.kinds), vars(count)
    # What is seen is what happens: the old image starts first, then the new one.
    assert set(count.firsts) == {'active v1', 'active v2'}, count.firsts


def test_careless_agents_are_found_out(workshop, images, place):
    """Without durable writes, and with a rename where an entry is written in place."""
    place.mkdir(parents=True, exist_ok=True)
    library = workshop.work / 'misdeed.so'
    source = Path(__file__).parent / 'guest/misdeed.c'
    run('cc', '-shared', '-fPIC', '-D_GNU_SOURCE', '-o', library, source)
    with Recorder(workshop, place / 'record', images) as recorder:
        recorder.boot()
        machine = recorder.machine
        machine.write(MISDEED, library.read_bytes())
        holds = {'stay': frozenset({'v1'}), 'recovery': frozenset({'v1', 'v2'})}
        for misdeed, options in (('rename', ['--recovery']), ('nosync', [])):
            under = ['env', f'LD_PRELOAD={MISDEED}', f'MISDEED={misdeed}']
            recorder.chapter(misdeed, lambda: recorder.upgrade('v2', *options, under=under), **holds)
        recorder.end()
    for chapter, count in explore(recorder, SAMPLES):
        assert count.bad > 0, told(chapter, count)
