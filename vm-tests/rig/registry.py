# SPDX-License-Identifier: Apache-2.0
"""A real registry on the loopback device: Debian's docker-registry, filled by skopeo."""
import json
import re
import shutil
import subprocess
from pathlib import Path

from .esp import run
from .machine import die_with_parent
from .oci import Layout, tar, tree

CONFIG = """version: 0.1
log: {{level: info, formatter: json}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:0"{tls}}}
"""


class DockerRegistry:
    """Runs until close(). certificate: an object with the paths pem and key, for TLS."""

    def __init__(self, dir, certificate=None):
        self.dir = Path(dir).resolve()
        shutil.rmtree(self.dir, ignore_errors=True)         # of an earlier run
        self.dir.mkdir(parents=True, exist_ok=True)
        tls = f', tls: {{certificate: {certificate.pem}, key: {certificate.key}}}' if certificate else ''
        (self.dir / 'config.yml').write_text(CONFIG.format(root=self.dir / 'content', tls=tls))
        self.log = self.dir / 'registry.log'
        with open(self.log, 'wb') as log:
            # Into a pipe first: the line that tells the port is waited for.
            self.process = subprocess.Popen(['docker-registry', 'serve', self.dir / 'config.yml'], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
            self.port = self._port(log)
            # From here on nobody else reads it; a full pipe would stop the registry.
            self.copier = subprocess.Popen(['cat'], stdin=self.process.stderr, stdout=log, preexec_fn=die_with_parent)
        self.process.stderr.close()
        self.uploads = 0

    def _port(self, log):
        for line in self.process.stderr:
            log.write(line)
            log.flush()
            found = re.search(rb'listening on 127\.0\.0\.1:(\d+)', line)
            if found:
                return int(found.group(1))
        raise RuntimeError(f'docker-registry does not start:\n{self.log.read_text()}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.copier.wait()

    def layout(self):
        """An empty layout to fill and push."""
        self.uploads += 1
        return Layout(self.dir / f'layout{self.uploads}')

    def push(self, layout, name, tag='latest'):
        """Pushes the image with this tag from a layout, byte for byte. Returns its digest."""
        return self._push(layout.folder, name, tag)

    def _push(self, folder, name, tag):
        digest_file = self.dir / 'digest'
        run('skopeo', '--insecure-policy', 'copy', '--quiet', '--preserve-digests', '--dest-tls-verify=false', '--digestfile',
            digest_file, f'oci:{folder}:{tag}', f'docker://127.0.0.1:{self.port}/{name}:{tag}')
        return digest_file.read_text().strip()

    def push_artifact(self, name, image, tag='latest', **more):
        """An image as an artifact: the raw file is the layer."""
        layout = self.layout()
        layout.put_artifact(image, tag, **more)
        return self.push(layout, name, tag)

    def push_made(self, tb_image, name, usi, tag='latest', *options):
        """An upgrade image as tb-image makes it from a system image."""
        self.uploads += 1
        folder = self.dir / f'layout{self.uploads}'
        run(tb_image, 'upgrade-image', '--usi', usi, '--out', folder, '--tag', tag, *options)
        return self._push(folder, name, tag)

    def push_image(self, name, image, tag='latest', loader=None, how='zstd', **more):
        """An image inside a container, in the layout of Kairos."""
        layout = self.layout()
        layout.put_image([(tar(tree(image, loader)), how)], tag, **more)
        return self.push(layout, name, tag)

    def requests(self):
        """What was answered: (method, path, status, bytes). Complete after close()."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith('{'))
        return [(r['http.request.method'], r['http.request.uri'], r['http.response.status'], r.get('http.response.written', 0))
                for r in lines if 'http.response.status' in r]
