# SPDX-License-Identifier: Apache-2.0
"""A real power cut at a random moment; "make faults" makes them by the hundred. A reset is cut in test_reset.py."""
import json
import runpy
import sys
from pathlib import Path

from faults.cuts import rows

RUN = Path(__file__).parent / 'faults/run'


def test_power_cut(workshop, tmp_path, monkeypatch, capsys):
    """By the program that makes them by the hundred, in a folder of its own."""
    program = runpy.run_path(str(RUN))
    monkeypatch.setitem(program['run'].__globals__, 'folder', lambda workshop: tmp_path)
    monkeypatch.setitem(program['main'].__globals__, 'Workshop', lambda *of_the_arguments: workshop)
    out = tmp_path / 'faults.json'
    monkeypatch.setattr(sys, 'argv', [str(RUN), '--only', 'cuts', '--cuts', '1', '--operation', 'upgrade', '--out', str(out)])
    assert program['main']() == 0
    noted, = rows(tmp_path / 'cuts/cuts.jsonl')
    assert (noted['operation'], noted['cuts'], noted['bad']) == ('upgrade', 1, []), noted
    row, = json.loads(out.read_text())['rows']
    assert (row['operation'], row['fault'], row['tried'], row['bad']) == ('upgrade', 'cut', 1, 0), row
    assert '1 real cuts' in capsys.readouterr().out
