# SPDX-License-Identifier: Apache-2.0
"""Units that the project installs, judged by Debian's systemd."""
import pathlib

import pytest
from imagetools import BUILD, TOP, tool

UNITS = sorted(path for path in pathlib.Path(TOP, "agent").iterdir() if path.suffix in (".service", ".timer"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_is_accepted(tmp_path, unit):
    # The program is not installed here: let the units start the one that was built. They name each other.
    for other in UNITS:
        text = other.read_text().replace("/usr/bin/tb-agent", str(BUILD / "tb-agent"))
        text = "\n".join(line for line in text.splitlines() if not line.startswith("Documentation="))
        (tmp_path / other.name).write_text(text + "\n")
    copy = tmp_path / unit.name
    said = tool("systemd-analyze", "verify", copy, check=False).stderr.decode()
    assert not any(other.name in said for other in UNITS), said


def test_a_wrong_unit_is_noticed(tmp_path):
    wrong = tmp_path / "wrong.service"
    wrong.write_text("[Service]\nType=oneshot\nRestartForceExitStatus=8\nExecStart=/bin/true\n")
    assert "wrong.service" in tool("systemd-analyze", "verify", wrong, check=False).stderr.decode()
