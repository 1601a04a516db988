# SPDX-License-Identifier: Apache-2.0
"""Programs of others, and what the other tests have to make images, containers and registries with."""
import subprocess
import sys
from pathlib import Path

for folder in ("tests/image", "vm-tests"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / folder))
from imagetools import BOOT, BUILD, TOP, build_usi, tb_image                            # noqa: E402,F401
from rig.oci import (DOCKER, HERE, OCI, RAW, Layout, artifact_manifest, descriptor, digest_of, image_manifest,  # noqa: E402,F401
                     pack, tar, to_json, tree)
from rig.registry import DockerRegistry                                                 # noqa: E402,F401


def tool(*argv, check=True, timeout=120, **kwargs):
    done = subprocess.run([str(a) for a in argv], capture_output=True, timeout=timeout, **kwargs)
    if check:
        assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
    return done
