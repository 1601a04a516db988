# SPDX-License-Identifier: Apache-2.0
"""Images whose root is a file system in a file: a node is installed from one and lives like any other, and everything that a
root may hold is in the booted system what it was on the build machine."""
import os
import shutil

import pytest

from rig.extension import make_extension
from rig.facts import encrypted, role

LARGE = 3 << 30
LONG = 'n' * 200 + '/' + 'm' * 250
NAME = 'Größe 日本語'


def furnish(root):
    """What archives and file systems lose most easily, in /usr/share/kept."""
    place = root / 'usr/share/kept'
    (place / LONG).parent.mkdir(parents=True)
    (place / LONG).write_text('long')
    (place / NAME).write_text('name')
    os.close(os.open(os.fsencode(place) + b'/latin-\xe9', os.O_CREAT | os.O_WRONLY))
    for name in ('closed', 'listed'):
        (place / name).write_text(name)
        (place / name).chmod(0o600)
    # The user 65534 may read it: owner rw, that user r, group none, mask r, others none.
    os.setxattr(place / 'listed', 'system.posix_acl_access', bytes.fromhex(
        '02000000' '01000600ffffffff' '02000400feff0000' '04000000ffffffff' '10000400ffffffff' '20000000ffffffff'))
    shutil.copy(root / 'usr/bin/cat', place / 'cat')
    os.link(place / 'cat', place / 'cat2')
    # cap_dac_read_search, effective and permitted.
    os.setxattr(place / 'cat', 'security.capability', bytes.fromhex('0100000204000000000000000000000000000000'))
    os.mknod(place / 'zero', 0o20640, os.makedev(1, 5))
    os.chown(place / 'zero', 3, 3000000)
    with open(place / 'large', 'wb') as f:
        f.seek(LARGE - 3)
        f.write(b'end')


@pytest.fixture(scope='module')
def furnished(workshop):
    """A live session of an image with all of that, in the form that can hold all of it."""
    with workshop.live_machine(workshop.work / 'furnished', usi=workshop.usi('furnished', root_format='erofs', furnish=furnish)) as machine:
        machine.boot()
        yield machine


def as_nobody(machine, *argv):
    return machine.run(['chroot', '--userspec=65534:65534', '/', *argv])


def test_files_are_what_they_were(furnished):
    place = '/usr/share/kept'
    assert furnished.read(f'{place}/{LONG}') == b'long' and furnished.read(f'{place}/{NAME}') == b'name'
    assert furnished.shell(f"ls {place}/latin-$(printf '\\351')").rc == 0
    told = furnished.shell(f'stat -c "%a %u %g %h %t %T %s" {place}/cat {place}/zero {place}/large', check=True).text.splitlines()
    assert told[0].startswith('755 0 0 2 ') and told[1] == '640 3 3000000 1 1 5 0' and told[2].split()[-1] == str(LARGE)
    assert furnished.shell(f'tail -c 3 {place}/large; head -c 1000000 {place}/large | tr -d "\\0" | wc -c').text.split() == ['end0']
    assert furnished.shell(f'[ {place}/cat -ef {place}/cat2 ]').rc == 0


def test_rights_beyond_the_mode_hold(furnished):
    place = '/usr/share/kept'
    assert as_nobody(furnished, 'cat', f'{place}/closed').rc != 0
    assert as_nobody(furnished, 'cat', f'{place}/listed').text == 'listed', 'its access control list'
    assert as_nobody(furnished, f'{place}/cat', f'{place}/closed').text == 'closed', 'its capability'


def test_root_is_as_closed_as_any(furnished):
    for place in ('/x', '/usr/x', '/usr/share/kept/x'):
        assert 'Read-only file system' in furnished.shell(f'touch {place}').err.decode()
    assert furnished.shell('touch /etc/x && systemctl is-system-running --wait').text.strip() == 'running'
    assert 'TB_ROOT' not in furnished.shell('tr "\\0" "\\n" < /proc/1/environ').text
    assert furnished.shell('ls -d /tb').rc != 0


@pytest.fixture(scope='module')
def node(workshop):
    """A node of the other form, in its first boot."""
    with workshop.live_machine(workshop.work / 'tests' / 'squashfs', usi=workshop.usi('squashfs', root_format='squashfs')) as machine:
        machine.boot()
        workshop.install(machine)
        machine.boot()
        yield machine


def test_node_of_such_an_image(node):
    assert role(node) == 'active' and encrypted(node, '/oem') and encrypted(node, '/usr/local')
    assert node.shell('stat -f -c %T / /usr', check=True).text.split() == ['overlayfs', 'overlayfs']
    assert node.shell('touch /usr/x').rc != 0 and node.shell('touch /etc/x').rc == 0
    status = node.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['problems'] == [] and status['measured'] is True


def test_extensions_of_such_a_node(workshop, node):
    """One for /usr lies over the overlay that the root is. One for /etc would be an overlay too many, and says so."""
    folder = workshop.work / 'tests'
    for name, files in (('tools', {'usr/lib/tools/text': b'from the extension'}), ('conf', {'etc/tools.conf': b'from the extension'})):
        made = make_extension(folder / f'{name}.raw', files, workshop.keys(), confext=name == 'conf')
        node.write(f'/run/{name}.raw', made.read_bytes())
        node.run(['tb-agent', 'extension', 'install', f'/run/{name}.raw', *(['--confext'] if name == 'conf' else [])], check=True)
        node.run(['tb-agent', 'extension', 'enable', name], check=True)
    node.reboot()
    listed = node.run(['tb-agent', 'extension', 'list', '--json'], check=True).json()['extensions']
    assert {x['name']: (x['enabled'], x['active']) for x in listed} == {'tools': (True, True), 'conf': (True, False)}
    assert node.read('/usr/lib/tools/text') == b'from the extension' and node.run(['test', '-e', '/etc/tools.conf']).rc == 1
    assert 'Read-only file system' in node.shell('echo > /usr/lib/tools/text').err.decode()
    assert encrypted(node, '/usr/local') and node.run(['tb-agent', '--version']).rc == 0
    problem, = node.run(['tb-agent', 'status', '--json'], check=True).json()['problems']
    assert 'extension "conf" is left out: the root of this image is an overlay: it takes no confext' in problem
