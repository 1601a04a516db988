# SPDX-License-Identifier: Apache-2.0
"""System extensions: signed disk images, made by the tool that everybody makes them with."""
import shutil
import tempfile
from pathlib import Path

from .esp import run

MIB = 1 << 20
PARTS = (('data', '{kind}'), ('hash', '{kind}-verity'), ('signature', '{kind}-verity-sig'))


def make_extension(path, files, keys=None, name=None, release='ID=tbdemo\nVERSION_ID=1\n', confext=False):
    """A disk image with files: {path in it: bytes, or str for a link}, signed by the db key of keys; without keys there is no
    signature in it."""
    path, name = Path(path), name or Path(path).stem
    where = 'etc' if confext else 'usr/lib'
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        work = Path(work)
        tree, definitions = work / 'tree', work / 'definitions'
        definitions.mkdir()
        for file, data in {f'{where}/extension-release.d/extension-release.{name}': release.encode(), **files}.items():
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, str):
                (tree / file).symlink_to(data)
            else:
                (tree / file).write_bytes(data)
        with open(work / 'fs', 'wb') as f:
            f.truncate(MIB)
        run('mke2fs', '-q', '-t', 'ext4', '-O', '^has_journal', '-b', '4096', '-E', 'root_owner=0:0', '-d', tree, work / 'fs')
        for number, (verity, kind) in enumerate(PARTS if keys else PARTS[:2]):
            size = '' if verity == 'signature' else f'SizeMinBytes={MIB}\nSizeMaxBytes={MIB}\n'
            copy = f'CopyBlocks={work}/fs\n' if verity == 'data' else ''
            (definitions / f'{number}.conf').write_text(f'[Partition]\nType={kind.format(kind="root")}\nVerity={verity}\n'
                                                        f'VerityMatchKey=x\n{size}{copy}')
        options = ['--private-key', keys / 'db.key', '--certificate', keys / 'db.pem'] if keys else []
        run('systemd-repart', '--empty=create', '--size=auto', '--dry-run=no', '--seed=random', '--definitions', definitions,
            *options, work / 'image')
        shutil.move(work / 'image', path)
    return path
