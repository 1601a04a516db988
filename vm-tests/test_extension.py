# SPDX-License-Identifier: Apache-2.0
"""System extensions on a node: one story on one machine, in this order. What is signed and enabled for the image that runs is
there from the first unit on; what is altered is left out, and so is everything after an upgrade until somebody agrees to it."""
import shutil

import pytest

from rig import Disk
from rig.esp import run
from rig.extension import make_extension

STORE = '/usr/local/.state/extensions'
TEXT = b'from the extension\n'
MARK = b'a block that somebody alters    ' * 128
UNIT = b'[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/cp /usr/lib/hello/text /run/hello-ran\n'
WANT = 'usr/lib/systemd/system/multi-user.target.wants/hello.service'
REFUSED, SIGNATURE = 6, 12


@pytest.fixture(scope='module')
def images(workshop):
    """Disk images by name. "flipped" and "torn" are good until they are altered on the disk."""
    folder = workshop.work / 'extensions'
    folder.mkdir(exist_ok=True)
    keys, foreign = workshop.keys(), workshop.keys('foreign-keys')

    def make(name, files, by=keys, **options):
        return make_extension(folder / f'{name}.raw', files, by, **options).read_bytes()
    hello = {'usr/lib/hello/text': TEXT, 'usr/lib/systemd/system/hello.service': UNIT, WANT: '../hello.service'}
    return {'hello': make('hello', hello),
            'conf': make('conf', {'etc/hello.conf': TEXT}, confext=True),
            'flipped': make('flipped', {'usr/lib/flipped/text': TEXT}),
            'torn': make('torn', {'usr/lib/torn/text': MARK}),
            'strange': make('strange', {'usr/lib/strange/text': TEXT}, release='ID=another\nVERSION_ID=1\n'),
            'idle': make('idle', {'usr/lib/idle/text': TEXT}),
            'foreign': make('foreign', {'usr/lib/foreign/text': TEXT}, by=foreign),
            'unsigned': make('unsigned', {'usr/lib/unsigned/text': TEXT}, by=None)}


@pytest.fixture(scope='module')
def node(workshop, booted, images):
    """The installed machine, with a disk that has the extensions, and the next image, as files."""
    content, disk = workshop.work / 'extensions-disk', workshop.work / 'extensions-disk.img'
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    for name, data in images.items():
        (content / f'{name}.raw').write_bytes(data)
    # One bit of a file system, which no signature and no table shows.
    data = bytearray(images['hello'])
    data[data.index(TEXT)] ^= 1
    (content / 'altered.raw').write_bytes(data)
    shutil.copyfile(workshop.usi('v2', version=2), content / 'v2.efi')
    disk.unlink(missing_ok=True)
    run('mke2fs', '-q', '-t', 'ext4', '-O', '^has_journal', '-d', content, disk, '128M')
    with booted.clone(workshop.work / 'tests' / 'extension') as machine:
        machine.disks.append(Disk(disk, serial='media', readonly=True))
        machine.boot()
        yield machine


def mount_media(node):
    node.shell(f'mkdir -p /run/media && mount -o ro {node.disk_node("media")} /run/media', check=True)


def act(node, *words):
    done = node.run(['tb-agent', 'extension', *words, '--json'])
    return done.rc, done.json()


def install(node, name, *options):
    return act(node, 'install', f'/run/media/{name}.raw', *options)


def said(done):
    return (done.out + done.err).decode(errors='replace')


def listed(node):
    rc, document = act(node, 'list')
    assert rc == 0, document
    return {x['name']: x for x in document['extensions']}


def states(node):
    return {name: (x['enabled'], x['active']) for name, x in listed(node).items()}


def problems(node):
    return node.run(['tb-agent', 'status', '--boot', '--json'], check=True).json()['boot']['problems']


def test_only_what_is_signed_is_installed(node):
    mount_media(node)
    for name, code, said in (('foreign', SIGNATURE, 'not signed by a key'), ('unsigned', REFUSED, 'it lacks'),
                             ('altered', REFUSED, 'the disk image is damaged')):
        rc, document = install(node, name)
        assert rc == code and said in document['error']['text'], document
    assert listed(node) == {} and node.shell(f'ls {STORE}').text == ''
    for name in ('hello', 'flipped', 'torn', 'strange', 'idle', 'conf'):
        rc, document = install(node, name, *(['--confext'] if name == 'conf' else []))
        assert rc == 0 and document['changed'] is True, document
    assert install(node, 'hello')[1]['changed'] is False
    for name in ('hello', 'flipped', 'torn', 'strange', 'conf'):
        rc, document = act(node, 'enable', name)
        assert rc == 0 and document['changed'] is True, document
    # Nothing of it is used in a boot that began without it.
    expected = {name: (True, False) for name in ('conf', 'flipped', 'hello', 'strange', 'torn')}
    assert states(node) == {**expected, 'idle': (False, False)}
    assert node.run(['test', '-e', '/usr/lib/hello']).rc == 1


def alter(node, name, offset):
    file = f'{STORE}/{listed(node)[name]["root_hash"]}.raw'
    done = node.shell(f"printf '\\377' | dd of={file} bs=1 seek={offset} conv=notrunc && sync")
    assert done.rc == 0, done.text


def test_it_is_there_from_the_first_unit_on(node, images):
    # The topmost hash of one, and a block of a file in another.
    alter(node, 'flipped', images['flipped'].index(b'verity\0\0') + 512 + 7)
    alter(node, 'torn', images['torn'].index(MARK) + 9)
    node.shell('mkdir -p /usr/local/lib/extensions/evil/usr/lib/extension-release.d /usr/local/lib/extensions/evil/usr/lib/evil; '
               'echo ID=_any > /usr/local/lib/extensions/evil/usr/lib/extension-release.d/extension-release.evil', check=True)
    node.write('/usr/local/kept', b'data\n')
    node.reboot()
    node.run(['systemctl', 'is-active', 'hello.service'], check=True)
    assert node.read('/run/hello-ran') == TEXT and node.read('/usr/lib/hello/text') == TEXT
    assert node.read('/etc/hello.conf') == TEXT
    node.write('/etc/hello.conf', b'changed\n')
    assert states(node) == {'conf': (True, True), 'flipped': (True, False), 'hello': (True, True), 'idle': (False, False),
                            'strange': (True, False), 'torn': (True, True)}
    text = '\n'.join(problems(node))
    assert 'extension "flipped" is left out' in text and 'extension "strange" is left out: made for another system' in text
    # What was altered below a file is an error of whoever reads it.
    done = node.run(['cat', '/usr/lib/torn/text'])
    assert done.rc != 0 and 'Input/output error' in said(done), said(done)
    # What belongs to the node is as before.
    assert node.read('/usr/local/kept') == b'data\n'
    node.write('/usr/local/kept', b'more\n')
    for path in ('/usr/lib/hello/text', '/usr/lib/new', '/usr/bin/tb-agent'):
        assert 'Read-only file system' in said(node.shell(f'echo > {path}'))
    # Nobody else merges what lies on the partition.
    assert 'masked' in said(node.run(['systemctl', 'start', 'systemd-sysext.service']))
    assert '/usr/local/lib/extensions' in text and node.run(['test', '-e', '/usr/lib/evil']).rc == 1


def test_another_image_starts_without_until_it_is_enabled(node):
    mount_media(node)
    done = node.run(['tb-agent', 'upgrade', '--source', 'file:/run/media/v2.efi', '--json'], timeout=300)
    assert done.rc == 0, said(done)
    node.reboot()
    assert b'IMAGE_VERSION=2' in node.read('/usr/lib/os-release') and node.read('/usr/local/kept') == b'more\n'
    assert set(states(node).values()) == {(False, False)}
    assert node.run(['test', '-e', '/usr/lib/hello']).rc == 1 and node.run(['test', '-e', '/etc/hello.conf']).rc == 1
    status = node.run(['tb-agent', 'status'], check=True).text
    assert 'not active, not enabled for this image' in status, status
    assert act(node, 'enable', 'hello')[1]['images'][-1]['version'] == '2'
    assert states(node)['hello'] == (True, False)
    rc, document = act(node, 'enable', 'flipped')
    assert rc == 0, document
    assert act(node, 'remove', 'idle')[0] == 0 and 'idle' not in listed(node)
