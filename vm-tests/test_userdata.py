# SPDX-License-Identifier: Apache-2.0
"""User data at every boot, though /etc is new each time: by systemd alone, which is all that the demo OS has. One machine."""
import re

import pytest

CONFIG = b'''#cloud-config
hostname: node7
users:
- name: admin
  passwd: $6$abcdefgh$hash
  groups: [wheel]
  ssh_authorized_keys: [ssh-ed25519 AAAA admin@example]
- {name: kairos, passwd: plain word}
- {name: root, ssh_authorized_keys: [ssh-rsa BBBB]}
write_files:
- {path: /etc/app/token, permissions: '0600', owner: 'admin:wheel', content: "a\\tb\\n"}
bootcmd: [echo "$$ $(cat /proc/1/comm)" > /run/early]
runcmd: ["systemctl is-active tb-agent-files.service multi-user.target > /run/late"]
power_state: {mode: reboot}
install: {device: auto, source: 'https://user:hunter2@host/x'}
stages:
  boot:
  - commands: ["cd /var/tmp; pwd > where; exit 3", "pwd > /run/elsewhere"]
    sysctl: {vm.swappiness: 7}
    modules: [loop]
'''
BROKEN = b'#cloud-config\nhostname: broken\nusers: [\n'
UNITS = ['bootcmd', 'users', 'files', 'runcmd']


def expect_applied(machine):
    # Returns when the commands have run, however far the boot is.
    machine.run(['systemctl', 'start', 'tb-agent-runcmd.service'], check=True)
    for unit in UNITS:
        shown = machine.run(['systemctl', 'show', '-p', 'Result,ActiveState', f'tb-agent-{unit}.service'], check=True).text
        assert set(shown.split()) == {'Result=success', 'ActiveState=active'}, (unit, shown)
    assert machine.read('/proc/sys/kernel/hostname') == b'node7\n'
    passwd, shadow = machine.read('/etc/passwd').decode(), machine.read('/etc/shadow').decode()
    assert '\nadmin:x:1000:1000:admin:/home/admin:/bin/bash\n' in passwd and '\nkairos:x:1001:' in passwd
    assert '\nadmin:$6$abcdefgh$hash:' in shadow and re.search(r'\nkairos:\$y\$', shadow)
    assert re.search(r'^wheel:.*:admin$', machine.read('/etc/group').decode(), re.M)
    assert machine.read('/home/admin/.ssh/authorized_keys') == b'ssh-ed25519 AAAA admin@example\n'
    assert machine.read('/root/.ssh/authorized_keys') == b'ssh-rsa BBBB\n'
    assert machine.read('/etc/app/token') == b'a\tb\n'
    stat = machine.run(['stat', '-c', '%a %U:%G', '/etc/app/token', '/home/admin', '/home/admin/.ssh/authorized_keys'], check=True).text
    assert stat.splitlines() == ['600 admin:wheel', '700 admin:admin', '600 admin:admin']
    assert machine.read('/run/early').split()[1] == b'systemd'
    assert machine.read('/run/late') == b'active\nactive\n' and machine.read('/var/tmp/where') == b'/var/tmp\n'
    assert machine.read('/run/elsewhere') == b'/\n'
    assert machine.read('/proc/sys/vm/swappiness') == b'7\n' and b'\nloop ' in b'\n' + machine.read('/proc/modules')
    # Who is no root sees none of it, and our own sections are nowhere.
    modes = machine.shell('stat -c %a /run/tb-agent/userdata/*.conf /run/tb-agent/userdata/credentials/* /run/tb-agent/userdata/*cmd',
                          check=True).text.split()
    assert set(modes) == {'600'}
    assert machine.shell('grep -r hunter2 /run/tb-agent /run/systemd/system /etc').rc == 1


def user_data(machine):
    report = machine.run(['tb-agent', 'status', '--boot', '--json'], check=True).json()['boot']
    print(next(step for step in report['steps'] if step['name'] == 'user data'))
    return report['user_data'], report['problems']


@pytest.fixture
def node(machine):
    machine.boot()
    told, problems = user_data(machine)
    assert (told['engine'], told['files'], told['given'], problems) == ('systemd', [], [], [])
    machine.write('/oem/90_custom.yaml', CONFIG)
    machine.run(['chmod', '600', '/oem/90_custom.yaml'], check=True)
    machine.power_off()
    return machine


def test_user_data_at_every_boot(node):
    machine = node
    machine.boot()
    expect_applied(machine)
    told, problems = user_data(machine)
    assert told['engine'] == 'systemd' and told['files'] == ['/oem/90_custom.yaml']
    assert set(told['given']) == {'hostname', 'users', 'write_files', 'bootcmd', 'runcmd'}
    assert len(problems) == 1 and 'power_state' in problems[0]
    said = machine.run(['tb-agent', 'status', '--boot'], check=True).text
    assert re.search(r'^user data +systemd: hostname users .*, of /oem/90_custom.yaml$', said, re.M), said
    # A file of later, broken.
    machine.write('/oem/95_broken.yaml', BROKEN)
    machine.write('/home/admin/kept', b'mine\n')
    machine.run(['chown', 'admin:admin', '/home/admin/kept'], check=True)
    machine.power_off()

    machine.boot()
    expect_applied(machine)
    told, problems = user_data(machine)
    assert [p for p in problems if '/oem/95_broken.yaml:4:1' in p or '/oem/95_broken.yaml:3:' in p], problems
    assert machine.run(['stat', '-c', '%U', '/home/admin/kept'], check=True).text == 'admin\n'
    # systemd was told that it has its credentials, and that there are none.
    assert machine.run(['ls', '-A', '/run/credentials/@system'], check=True).text == ''
