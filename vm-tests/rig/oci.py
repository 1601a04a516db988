# SPDX-License-Identifier: Apache-2.0
"""What container images are made of: layers, manifests and layouts, of the OCI and of the Docker kind."""
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

from .esp import run

OCI = {'index': 'application/vnd.oci.image.index.v1+json', 'manifest': 'application/vnd.oci.image.manifest.v1+json',
       'config': 'application/vnd.oci.image.config.v1+json', 'tar': 'application/vnd.oci.image.layer.v1.tar',
       'gzip': 'application/vnd.oci.image.layer.v1.tar+gzip', 'zstd': 'application/vnd.oci.image.layer.v1.tar+zstd',
       'empty': 'application/vnd.oci.empty.v1+json'}
DOCKER = {'index': 'application/vnd.docker.distribution.manifest.list.v2+json',
          'manifest': 'application/vnd.docker.distribution.manifest.v2+json',
          'config': 'application/vnd.docker.container.image.v1+json',
          'tar': 'application/vnd.docker.image.rootfs.diff.tar', 'gzip': 'application/vnd.docker.image.rootfs.diff.tar.gzip',
          # There is no Docker type for it; what pushes zstd writes this one.
          'zstd': 'application/vnd.docker.image.rootfs.diff.tar.zstd'}
RAW = 'application/vnd.tb-agent.usi.v1'
IMAGE = 'EFI/kairos/norole.efi'
LOADER = 'EFI/BOOT/BOOTX64.EFI'
HERE = {'architecture': 'amd64', 'os': 'linux'}


def digest_of(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def descriptor(media_type, data, **more):
    return {'mediaType': media_type, 'digest': digest_of(data), 'size': len(data), **more}


def to_json(document):
    return json.dumps(document, separators=(',', ':')).encode()


# --- layers ----------------------------------------------------------------------------------------------------------

def tar(members):
    """A tar of (name, content) pairs; content None is a folder, a str a symbolic link, a TarInfo itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name, info.mtime = name, 1700000000
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            elif isinstance(content, (bytes, memoryview)):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    return out.getvalue()


def pack(data, how):
    if how == 'gzip':
        return gzip.compress(data, 1, mtime=0)
    if how == 'zstd':
        return run('zstd', '-q', '-1', '-c', input=data)
    return data


def tree(image, loader=None, before=(), after=()):
    """The members of an upgrade image in the layout of Kairos."""
    folders = [('EFI', None), ('EFI/kairos', None), ('loader', None), ('loader/entries', None)]
    files = [('loader/entries/norole.conf', b'title demo\nefi /EFI/kairos/norole.efi\n'), (IMAGE, image)]
    if loader is not None:
        folders += [('EFI/BOOT', None)]
        files += [(LOADER, loader)]
    return [*folders, *before, *files, *after]


# --- manifests -------------------------------------------------------------------------------------------------------
# put_blob(data, media_type) keeps a blob and gives its descriptor.

def image_manifest(put_blob, layers, types=OCI, annotations=None, platform=HERE, labels=None):
    """The manifest of an image of layers [(tar bytes, "tar" | "gzip" | "zstd")]."""
    config = to_json({**platform, 'config': {'Labels': labels or {}},
                      'rootfs': {'type': 'layers', 'diff_ids': [digest_of(data) for data, _ in layers]}})
    manifest = {'schemaVersion': 2, 'mediaType': types['manifest'], 'config': put_blob(config, types['config']),
                'layers': [put_blob(pack(data, how), types[how]) for data, how in layers]}
    return {**manifest, **({'annotations': annotations} if annotations else {})}


def artifact_manifest(put_blob, image, media_type=RAW, **more):
    """The manifest of an artifact whose single layer is the image itself."""
    return {'schemaVersion': 2, 'mediaType': OCI['manifest'], 'artifactType': media_type,
            'config': put_blob(b'{}', OCI['empty']), 'layers': [put_blob(image, media_type)], **more}


# --- layouts on disk -------------------------------------------------------------------------------------------------

class Layout:
    """An OCI layout: a folder with blobs and an index. What is put in may be bytes or the path of a large file."""

    def __init__(self, folder):
        self.folder, self.listed = Path(folder), []
        (self.folder / 'blobs/sha256').mkdir(parents=True)
        (self.folder / 'oci-layout').write_bytes(to_json({'imageLayoutVersion': '1.0.0'}))

    def put_blob(self, data, media_type, **more):
        data = data.read_bytes() if isinstance(data, Path) else data
        (self.folder / 'blobs/sha256' / digest_of(data)[7:]).write_bytes(data)
        return descriptor(media_type, data, **more)

    def put_manifest(self, manifest, media_type, tag):
        done = self.put_blob(to_json(manifest), media_type)
        self.listed.append({**done, 'annotations': {'org.opencontainers.image.ref.name': tag}})
        index = {'schemaVersion': 2, 'mediaType': OCI['index'], 'manifests': self.listed}
        (self.folder / 'index.json').write_bytes(to_json(index))
        return done

    def put_image(self, layers, tag='latest', **more):
        return self.put_manifest(image_manifest(self.put_blob, layers, **more), OCI['manifest'], tag)

    def put_artifact(self, image, tag='latest', **more):
        return self.put_manifest(artifact_manifest(self.put_blob, image, **more), OCI['manifest'], tag)
