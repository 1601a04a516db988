# SPDX-License-Identifier: Apache-2.0
"""A node's life with every write to its disk on record: what runs in the machine, and what has to hold meanwhile."""
import struct
from dataclasses import replace

from rig.workshop import INSTALL, INSTALL_TIMEOUT

from .judge import INSTALL as INSTALLS
from .judge import RESET
from .record import Recorder

LIVE_DISK = 6 << 30         # holds a node, and no more: each state is a disk
KEY_FILE = '/run/recovery.key'
QUESTION = 'The data of this node is locked'
ENROLL_TPM = ('tb-agent', 'enroll', 'tpm', '--allow-software-tpm', '--json', '--key-file', '-')
RESET_COMMAND = ('tb-agent', 'reset', '--yes', '--json')
BLESS = ('tb-agent', 'bless')
PIN, PIN_QUESTION = b'open sesame please', 'it is not shown'
MARKER = b'THIS-IS-DATA-OF-THE-NODE-'
MARKED = ('/oem/marker', '/usr/local/marker')
ONCE = '/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'
V1 = {'stay': frozenset({'v1'}), 'recovery': frozenset({'v1'})}


# What all stories do ---------------------------------------------------------------------------------------------------

def write_markers(r):
    """Known data on both data partitions, which is then to be found nowhere on the disk."""
    for path in MARKED:
        r.machine.shell(f'for i in $(seq 2000); do echo {MARKER.decode()}; done > {path}; sync', check=True)
    r.keep_secret('data of the node', MARKER)


def keep_volume_keys(r, key):
    """The keys that the data is encrypted with."""
    for number, name in ((2, 'oem'), (3, 'persistent')):
        r.machine.write('/run/key', key.encode())
        r.machine.shell(f'rm -f /run/volume; cryptsetup luksDump -q --dump-volume-key --volume-key-file /run/volume '
                        f'--key-file /run/key {r.machine.disk_node("target")}{number}', check=True)
        r.keep_secret(f'volume key of {name}', r.machine.read('/run/volume'))


def install_command(r, *options):
    return (*INSTALL, '--target', r.machine.disk_node('target'), '--yes', '--json', *options)


def take_key(r, name):
    key = r.machine.read(KEY_FILE).decode().strip()
    r.keep_secret(name, key)
    r.machine.run(['rm', KEY_FILE], check=True)
    return key


def to_recovery(r):
    """The next boot is that of the recovery entry, whatever runs now."""
    r.machine.write('/run/once', struct.pack('<I', 7) + 'recovery.conf\0'.encode('utf-16le'))
    r.machine.shell(f'cat /run/once > {ONCE}', check=True)


# Stories -----------------------------------------------------------------------------------------------------------------

def upgrade_story(r):
    """The least that has to be safe: a new image, its first start, its confirmation."""
    r.chapter('boot', r.boot, again=BLESS, **V1)
    r.operation('upgrade', r.upgrade_command('v2'), **V1)
    r.chapter('trial and bless', r.restart, again=BLESS, **V1)


def long_story(r):
    """Every way in which images move on the boot partition."""
    labels = frozenset
    upgrade_story(r)
    r.operation('upgrade of recovery', r.upgrade_command('v2', '--recovery'), stay=labels({'v1', 'v2'}),
                recovery=labels({'v1', 'v2'}))
    r.operation('upgrade, oldest removed', r.upgrade_command('v3'), stay=labels({'v2'}), recovery=labels({'v2'}))
    r.chapter('trial and bless', r.restart, again=BLESS, stay=labels({'v2'}), recovery=labels({'v2'}))
    r.operation('upgrade to the same', r.upgrade_command('v3'), stay=labels({'v2', 'v3'}), recovery=labels({'v2'}))
    # An image that failed all its trials: the loader passes it over, and what it falls back to is confirmed.
    r.operation('upgrade', r.upgrade_command('v1', '--allow-downgrade'), stay=labels({'v3', 'v2'}), recovery=labels({'v2'}))
    r.chapter('', lambda: r.machine.shell(
        'm=$(mktemp -d); mount /dev/vda1 $m; mv $m/loader/entries/active+3-0.conf $m/loader/entries/active+0-3.conf; umount $m',
        check=True), judged=False)
    r.chapter('fall back and bless', r.restart, again=BLESS, stay=labels({'v3', 'v2'}), recovery=labels({'v2'}))


def install_story(r, over=True):
    """From the live session onto an empty disk; the node's first start; and onto the disk of that node once more."""
    r.boot()
    r.operation('install', install_command(r, '--recovery-key-file', KEY_FILE), kind=INSTALLS, **V1)
    key = take_key(r, 'recovery key')
    keep_volume_keys(r, key)
    r.machine.power_off()
    live = next(d for d in r.machine.disks if d.serial == 'live')
    r.without('live')
    r.chapter('first boot', r.boot, again=BLESS, **V1)
    r.chapter('writing data', lambda: write_markers(r), **V1)
    if not over:
        return key
    r.machine.power_off()
    r.machine.disks.insert(0, live)
    r.boot()
    r.operation('install over a node', install_command(r, '--config', '/run/node.yaml', '--recovery-key-file', KEY_FILE),
                files=(('/run/node.yaml', b'#cloud-config\nhostname: node7\n# ' + MARKER + b'\n'),), kind=INSTALLS, **V1)
    keep_volume_keys(r, take_key(r, 'second recovery key'))
    r.machine.power_off()
    r.without('live')
    r.chapter('first boot', r.boot, again=BLESS, **V1)
    return None


def enroll_key(r, key, name='enroll recovery-key --rotate', under=()):
    """Another recovery key. Returns it."""
    rotate = ('tb-agent', 'enroll', 'recovery-key', '--rotate', '--recovery-key-file', KEY_FILE, '--json', '--key-file', '-')
    r.operation(name, rotate, under, keys=(key,), kept=MARKED, **V1)
    new = take_key(r, 'rotated recovery key')
    r.chapters[-1] = replace(r.chapters[-1], keys=(key, new))       # done again it may have to be the new one
    return new


def enroll_story(r, key):
    """The ways into the data, one after the other. r: a node that runs, and its recovery key."""
    r.boot()
    r.keep_secret('recovery key', key)
    write_markers(r)
    keep_volume_keys(r, key)
    key = enroll_key(r, key)
    r.keep_secret('PIN', PIN)
    pin = ('tb-agent', 'enroll', 'pin', '--allow-software-tpm', '--json', '--key-file', '-')
    more = {'keys': (key,), 'kept': MARKED, 'answers': ((PIN_QUESTION, PIN.decode() + '\r'),), **V1}
    r.operation('enroll pin', (*pin, '--pin-file', '/run/pin'), files=(('/run/pin', PIN),), **more)
    r.operation('enroll pin --remove', (*pin, '--remove'), **more)
    to_recovery(r)
    r.machine.power_off()
    r.machine.reset_tpm()
    more = {'vars': r.keep_vars(), 'answers': ((QUESTION, key + '\r'),), **V1}
    r.chapter('boot with another TPM', lambda: r.boot(dict(more['answers'])), **more)
    r.operation('enroll tpm', ENROLL_TPM, keys=(key,), kept=MARKED[:1], **more)
    r.chapter('boot with a new token', r.restart, again=BLESS, kept=MARKED, **V1)
    r.operation('enroll finish', ('tb-agent', 'enroll', 'finish', '--json'), kept=MARKED, **V1)


def reset(r, name, *options, erased, under=(), **expected):
    kept = MARKED[:1] if 'oem' not in erased else ()
    r.operation(name, (*RESET_COMMAND, '--recovery-key-file', KEY_FILE, *options), under, kind=RESET, erased=frozenset(erased),
                kept=kept, **expected)
    take_key(r, f'recovery key of {name}')


def reset_story(r):
    """From recovery, whose image is copied; the node it makes; and once more, with all there is on it."""
    both = {'stay': frozenset({'v1', 'v2'}), 'recovery': frozenset({'v2'})}
    r.chapter('boot', r.boot, judged=False)
    r.chapter('', lambda: (r.command(r.upgrade_command('v2', '--recovery')), write_markers(r), to_recovery(r)), judged=False)
    r.chapter('boot of recovery', r.restart, again=BLESS, **both)
    reset(r, 'reset', erased=['persistent'], **both)
    r.chapter('boot after reset', r.restart, again=BLESS, **both)
    r.chapter('', lambda: (r.command(r.upgrade_command('v1', '--allow-downgrade')), write_markers(r), to_recovery(r)), judged=False)
    r.chapter('boot of recovery', r.restart, again=BLESS, **both)
    reset(r, 'reset --oem', '--oem', erased=['oem', 'persistent'], stay=frozenset({'v2'}), recovery=frozenset({'v2'}))
    r.chapter('boot after reset --oem', r.restart, again=BLESS, stay=frozenset({'v2'}), recovery=frozenset({'v2'}))


def short_story(r, under):
    """A little of everything: an installation, a first start, a key, a reset. under(r): a command that runs a careless agent;
    what it does has its name in the names of two chapters."""
    key = install_story(r, over=False)
    key = enroll_key(r, key)
    enroll_key(r, key, 'careless enroll', under(r))
    to_recovery(r)
    r.chapter('boot of recovery', r.restart, again=BLESS, **V1)
    reset(r, 'reset', erased=['persistent'], **V1)
    reset(r, 'careless reset', erased=['persistent'], under=under(r), **V1)


def tell(workshop, name, place, images):
    """Puts one of the stories on record. images: {label: path} of v1, v2, v3."""
    def of(*labels):
        return {label: images[label] for label in labels}
    if name == 'enroll':
        base, key = workshop.with_recovery_key()
        recorder, story = Recorder(workshop, place, of('v1'), base=base), lambda r: enroll_story(r, key)
    elif name == 'install':
        recorder, story = Recorder(workshop, place, of('v1'), live=LIVE_DISK), install_story
    else:
        labels, story = {'upgrade': (('v1', 'v2', 'v3'), long_story), 'reset': (('v1', 'v2'), reset_story)}[name]
        recorder = Recorder(workshop, place, of(*labels))
    with recorder as r:
        story(r)
        return r.end()
