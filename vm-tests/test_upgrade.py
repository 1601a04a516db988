# SPDX-License-Identifier: Apache-2.0
"""The life of a node that is upgraded from a real registry: the tests are one story, in this order, on one machine. What is
wrong with an image is found before it is installed, or the node comes back to the last good one by itself."""
import hashlib
import re
import shutil
import time

import pytest

from rig import Esp, MachineError
from rig.facts import blessed, encrypted, entries, esp_files, role
from rig.forge import patched, strip_signature
from rig.registry import DockerRegistry

PORT = 5000
KEPT = {'/oem/kept': b'configuration\n', '/usr/local/kept': b'data\n'}
PANIC = r'Kernel panic - not syncing'
UPGRADE_TIMEOUT = 300


@pytest.fixture(scope='module')
def images(workshop):
    """v3 has nothing to start, v4 cannot unlock, v5 finds itself ill, "old" is good and older than v6."""
    unsigned = workshop.usi('unsigned-v4', version=4, unsigned=True)
    stripped = patched(workshop.work / 'v4.unsigned', unsigned, strip_signature)
    return {'v2': workshop.usi('v2', version=2),
            'v3': workshop.usi('v3', version=3, cmdline='rdinit=/nowhere'),
            'v4': workshop.sign('usi-v4.efi', stripped),
            'v5': workshop.usi('v5', version=5, cmdline='tbdemo.unhealthy'),
            'v6': workshop.usi('v6', version=6),
            'old': workshop.usi('old-5.5', version='5.5')}


@pytest.fixture(scope='module')
def registry(workshop, images):
    """v2 is a container in the layout of Kairos with the boot loader beside the image, the others are raw artifacts."""
    with DockerRegistry(workshop.work / 'registry') as registry:
        for tag, image in images.items():
            if tag == 'v2':
                registry.push_made(workshop.tb_image, 'demo', image, tag, '--loader', workshop.loader())
            else:
                registry.push_artifact('demo', image, tag)
        yield registry


class Story:
    """The machine, and which chapters ended well: a later one makes no sense without the earlier ones."""

    def __init__(self, machine, images):
        self.machine, self.images, self.good = machine, images, True

    def upgrade(self, tag, *options, **kwargs):
        """Exit code and document of tb-agent upgrade."""
        done = self.begin_and_finish(tag, *options, **kwargs)
        return done.rc, done.json()

    def argv(self, tag, *options):
        where = f'{self.machine.network_up()}:{PORT}'
        return ['tb-agent', 'upgrade', '--source', f'oci:{where}/demo:{tag}', '--insecure', where, '--json', *options]

    def begin_and_finish(self, tag, *options, **kwargs):
        return self.machine.run(self.argv(tag, *options), timeout=UPGRADE_TIMEOUT, **kwargs)

    def version(self):
        text = self.machine.read('/usr/lib/os-release').decode()
        return float(re.search(r'^IMAGE_VERSION=([\d.]+)$', text, re.M).group(1))

    def status(self):
        return self.machine.run(['tb-agent', 'status', '--json'], check=True).json()

    def fell_back_because(self, tag):
        """The reason in the document, which the text tells as well."""
        status, text = self.status(), self.machine.run(['tb-agent', 'status'], check=True).text
        bad, = status['bad_entries']
        assert status['fallback'] is True and bad['sha256'] == self.digest(tag) and bad['boots'] == 3, status
        assert re.search(r'^role +passive \(the node fell back\)$', text, re.M), text
        told = text.partition('not started by themselves\n')[2]
        assert f'{bad["entry"]}, version {bad["version"]}: {bad["reason"]}\n' in told, text
        return bad['reason']

    def kept(self):
        return {path: self.machine.read(path) for path in KEPT}

    def esp(self):
        return esp_files(self.machine)

    def digest(self, tag):
        return hashlib.sha256(self.images[tag].read_bytes()).hexdigest()


@pytest.fixture(scope='module')
def node(workshop, booted, registry, images):
    place = workshop.work / 'tests/upgrade-story'
    shutil.rmtree(place, ignore_errors=True)
    with booted.clone(place, forward={PORT: registry.port}) as machine:
        machine.boot()
        yield Story(machine, {**images, 'v1': workshop.usi()})


@pytest.fixture
def story(node, request):
    if not node.good:
        pytest.skip('an earlier chapter went wrong')
    node.good = False
    yield node
    node.good = not getattr(request.node, 'failed', False)


def boots_until_it_stays(machine, limit, why=''):
    """Starts the machine again and again until a boot neither panics nor restarts itself; returns how many did, each of
    which said why."""
    for failed in range(limit):
        try:
            machine.boot()
            return failed
        except MachineError:
            assert re.search(why, machine.console), machine.tail()
            machine.wait_exit()
    raise AssertionError(f'{limit} boots, and none that stays\n{machine.tail()}')


def written(machine):
    """Bytes that the disk was given in this boot."""
    return sum(device['stats']['wr_bytes'] for device in machine.qmp('query-blockstats'))


def test_good_image_is_installed_started_and_confirmed(story):
    machine = story.machine
    for path, data in KEPT.items():
        machine.write(path, data)
    rc, said = story.upgrade('v2', '--check')
    assert rc == 0, said
    before = story.esp()
    rc, said = story.upgrade('v2', '--dry-run')
    assert rc == 0 and story.esp() == before, said
    rc, said = story.upgrade('v2')
    assert rc == 0, said
    assert story.version() == 1
    _, roles = story.esp()
    assert roles == {'active': story.digest('v2'), 'passive': story.digest('v1'), 'recovery': story.digest('v1')}
    machine.reboot()
    assert (role(machine), story.version(), blessed(machine)) == ('active', 2, True)
    assert story.kept() == KEPT and encrypted(machine, '/usr/local')
    _, roles = story.esp()
    assert roles == {'active': story.digest('v2'), 'passive': story.digest('v1'), 'recovery': story.digest('v1')}
    assert story.status()['problems'] == []


def test_the_same_again_is_nothing_to_do(story):
    before = story.esp()
    start = time.monotonic()
    rc, said = story.upgrade('v2')
    assert rc == 0 and time.monotonic() - start < 20, said
    assert story.upgrade('v2', '--check')[0] == 3
    assert story.esp() == before


def test_image_that_cannot_unlock_is_refused_and_no_file_changes(story):
    before = story.esp()
    rc, said = story.upgrade('v4')
    assert rc == 15 and said['error']['class'] == 'refused-pcr-signature', said
    assert story.esp() == before


def test_image_that_panics_is_left_after_its_tries(story):
    machine = story.machine
    rc, said = story.upgrade('v3')
    assert rc == 0, said
    machine.shut_down_to_restart()
    assert boots_until_it_stays(machine, 5, PANIC) == 3
    assert (role(machine), story.version()) == ('passive', 2)
    assert story.kept() == KEPT
    status = story.status()
    assert [e['tries_left'] for e in status['entries'] if e['role'] == 'active'] == [0]
    assert story.fell_back_because('v3') == '3 boots that nobody confirmed'
    _, roles = story.esp()
    assert roles == {'active': story.digest('v3'), 'passive': story.digest('v2'), 'recovery': story.digest('v1')}


def test_upgrade_from_passive_keeps_the_good_image(story):
    """And the next image is ill: the node gives it up by itself, and says why."""
    machine = story.machine
    rc, said = story.upgrade('v5')
    assert rc == 0, said
    _, roles = story.esp()
    assert roles == {'active': story.digest('v5'), 'passive': story.digest('v2'), 'recovery': story.digest('v1')}
    machine.shut_down_to_restart()
    assert boots_until_it_stays(machine, 5) == 3
    # It stays because it is good, not because nobody restarts it.
    assert (role(machine), story.version(), story.kept()) == ('passive', 2, KEPT)


def test_status_tells_why_it_fell_back(story):
    """One of its boots was given up by a health check, the others were never completed: the check knows more."""
    reason = story.fell_back_because('v5')
    assert 'health.d/10-tbdemo' in reason and 'told to be ill' in reason, reason
    assert [(f['sha256'], f['reason']) for f in story.status()['failed_images']][0] == (story.digest('v5'), reason)


def test_health_check_that_fails_later_costs_no_confirmed_boot_anything(story):
    machine, before = story.machine, story.esp()
    check = '/etc/tb-agent/health.d/50-later'
    machine.run(['mkdir', '-p', '/etc/tb-agent/health.d'], check=True)
    machine.write(check, b'#!/bin/sh\necho no more air >&2\nexit 1\n')
    machine.run(['chmod', '755', check], check=True)
    done = machine.run(['tb-agent', 'bless', '--reboot', '--json'])
    assert done.rc == 10 and check in done.json()['error']['text'], done
    assert 'no more air' in done.json()['error']['text'], done
    machine.run(['rm', check], check=True)
    assert machine.run(['tb-agent', 'bless', '--json'], check=True).json()['blessed'] is True
    assert story.esp() == before and role(machine) == 'passive'


def test_preferred_entry(story):
    """It would keep the node on the old image for ever: the next upgrade clears it."""
    machine = story.machine
    machine.run(['tb-agent', 'bootentry', 'prefer', 'passive'], check=True)
    listed = machine.run(['tb-agent', 'bootentry', 'list', '--json'], check=True).json()
    assert 'passive.conf' in (listed['default'], listed['preferred']), listed
    assert 'passive.conf' in story.status()['wishes'].values()
    done = machine.run(['tb-agent', 'bootentry', 'prefer', 'active', '--json'])
    assert done.rc == 10 and '--force' in done.json()['error']['advice'], done


def test_image_that_failed_is_not_tried_again_unless_forced(story):
    before = story.esp()
    rc, said = story.upgrade('v5')
    assert rc == 10, said
    assert 'force' in said['error']['advice'] and story.esp() == before


def test_good_image_after_bad_ones(story):
    """By the configuration of the node: source, registry, hooks, and what comes after."""
    machine = story.machine
    where = f'{machine.network_up()}:{PORT}'
    for when in ('before', 'after'):
        machine.write(f'/oem/{when}', b'#!/bin/sh\necho "$TB_EVENT $TB_TO_VERSION" >> /oem/told\n')
    machine.shell('chmod +x /oem/before /oem/after', check=True)
    machine.write('/oem/92_upgrade.yaml', f'''#cloud-config
upgrade:
  source: oci:{where}/demo:v6
  allow-insecure-registries: true
  reboot: true
  hooks: {{before: [/oem/before], after: [/oem/after]}}
'''.encode())
    machine.begin(['tb-agent', 'upgrade', '--all', '--delay', '2', '--json'], timeout=UPGRADE_TIMEOUT)
    machine.wait_exit(UPGRADE_TIMEOUT)      # it may be gone before it can answer
    machine.boot()
    assert machine.read('/oem/told').decode().splitlines() == ['before-upgrade ', 'after-upgrade 6']
    machine.run(['rm', '/oem/92_upgrade.yaml'], check=True)
    assert (role(machine), story.version(), blessed(machine), story.kept()) == ('active', 6, True, KEPT)
    _, roles = story.esp()
    assert roles == {'active': story.digest('v6'), 'passive': story.digest('v2'), 'recovery': story.digest('v1')}
    status = story.status()
    assert status['wishes'] == {} and status['fallback'] is False and status['bad_entries'] == []
    assert status['pending_recovery'] == story.digest('v6')     # --all: it was confirmed, and the next run copies it


def test_recovery_upgrade_survives_a_power_cut(story):
    machine = story.machine
    argv, before = story.argv('v6', '--recovery', '--limit-rate', '4M'), written(machine)
    machine.begin(argv, timeout=UPGRADE_TIMEOUT)
    deadline = time.monotonic() + 120
    while written(machine) < before + (8 << 20):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    machine.power_cut()
    esp = Esp(machine.raw_disk('target'))
    assert entries(machine) == ['active.conf', 'passive.conf', 'recovery.conf']
    text = esp.read('loader/entries/recovery.conf').decode()
    image = re.search(r'^efi +/(\S+)$', text, re.M).group(1)
    assert hashlib.sha256(esp.read(image)).hexdigest() in text
    machine.boot()
    assert (role(machine), story.kept()) == ('active', KEPT)


def test_recovery_upgrade(story):
    """The run that follows the confirmation, with the same words."""
    machine = story.machine
    _, before = story.esp()
    rc, said = story.upgrade('v6', '--all')
    assert rc == 0 and (said['target'], said['copied'], said['recovery_pending']) == ('recovery', True, False), said
    assert said['bytes']['network'] < 1 << 20 and story.status()['pending_recovery'] is None
    _, roles = story.esp()
    assert roles == {**before, 'recovery': story.digest('v6')}
    machine.run(['tb-agent', 'bootentry', 'once', 'recovery'], check=True)
    machine.reboot()
    assert (role(machine), story.version()) == ('recovery', 6)
    machine.reboot()
    assert (role(machine), story.version(), story.kept()) == ('active', 6, KEPT)


def test_older_version_is_refused(story):
    before = story.esp()
    rc, said = story.upgrade('old')
    assert rc == 16 and said['error']['class'] == 'refused-version', said
    assert '5.5' in said['error']['text'] and '--allow-downgrade' in said['error']['advice']
    # Every machine here was installed with a TPM that is a program; that is told apart.
    installed, = story.status()['overrides']
    assert story.esp() == before and installed['verb'] == 'install' and '--allow-software-tpm' in installed['text']


def test_accepted_downgrade_is_told(story):
    machine = story.machine
    done = story.begin_and_finish('old', '--allow-downgrade')
    proof = next(p for p in done.json()['proofs'] if p['proof'] == 'version')
    assert (done.rc, proof['state']) == (0, 'overridden'), done
    assert proof['text'] in done.err.decode() and '--allow-downgrade' in done.err.decode()
    assert story.status()['last_operation']['overridden'] == f'version: {proof["text"]} ({proof["advice"]})'
    machine.reboot()
    assert (role(machine), story.version(), story.kept()) == ('active', 5.5, KEPT)
    status = story.status()
    assert (status['floor']['version'], status['floor']['running_below']) == ('6', True)
    override, installed = status['overrides']
    assert (override['verb'], installed['verb']) == ('upgrade', 'install')
    assert (override['version'], override['sha256']) == ('5.5', story.digest('old'))
    assert proof['text'] in override['text'] and '--allow-downgrade' in override['text']
    text = machine.run(['tb-agent', 'status'], check=True).text
    assert override['text'] in text and 'the running version is below it' in text


def test_no_file_is_left_over(story):
    machine = story.machine
    machine.power_off()
    esp = Esp(machine.raw_disk('target'))
    images = {name for name in esp.files() if name.startswith('/EFI/kairos/') and name.endswith('.efi')}
    named = {re.search(r'^efi +(\S+)$', esp.read(f'loader/entries/{name}').decode(), re.M).group(1)
             for name in entries(machine)}
    assert images == named
