# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the machine tests. Run: /usr/bin/python3 -m pytest vm-tests (as root, after "make").

The build directory is "build" beside this folder, or $TB_BUILD; the kernel of the machines is that of Debian 12, or with
TB_KERNEL=debian13 that of Debian 13. A failed test leaves its machine's directory, with console.log, in build/vm/tests/NAME.
"""
import os
import re
import shutil
from pathlib import Path

import pytest

from rig import Machine, Workshop

BUILD = Path(os.environ.get('TB_BUILD', Path(__file__).resolve().parent.parent / 'build'))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    item.failed = getattr(item, 'failed', False) or report.failed


@pytest.fixture(scope='session')
def workshop():
    return Workshop(BUILD, BUILD / 'vm')


@pytest.fixture(scope='session')
def installed(workshop):
    """A machine with the demo OS installed, never booted from its own disk, and off. Clone it; do not start it."""
    return workshop.installed()


@pytest.fixture(scope='session')
def booted(workshop):
    """The installed machine after its first good boot, and off. Clone it; do not start it."""
    return workshop.booted()


@pytest.fixture(scope='session')
def running(workshop):
    """The installed machine in an ordinary, confirmed session, asleep. Its clones go on there when they are booted."""
    return workshop.running()


@pytest.fixture(scope='session')
def live_session(workshop):
    """The session of the installer medium, with an empty disk "target", asleep. Its clones go on there when they are booted."""
    return workshop.live()


@pytest.fixture
def machines(request, workshop):
    """Makes the machines of one test: machines(other) clones, machines(disks=[...]) builds. All are ended after it."""
    directory = workshop.work / 'tests' / re.sub(r'[^A-Za-z0-9_.-]+', '-', request.node.name)
    shutil.rmtree(directory, ignore_errors=True)
    made = []

    def make(other=None, name='', **settings):
        place = directory / (name or f'machine{len(made)}')
        if other is not None:
            machine = other.clone(place, **settings)
        elif 'disks' in settings:
            machine = Machine(place, **{'vars': workshop.vars(), **settings})
        else:
            machine = workshop.live_machine(place, **settings)
        made.append(machine)
        return machine
    yield make
    for machine in made:
        machine.power_cut()
    if not getattr(request.node, 'failed', False):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def machine(machines, booted):
    """A clone of the installed machine, off."""
    return machines(booted)
