# SPDX-License-Identifier: Apache-2.0
"""A real power cut at a random moment; "make faults" makes them by the hundred. A reset is cut in test_reset.py."""
import json

from faults.cuts import Campaign, rows


def test_power_cut(workshop, tmp_path):
    campaign = Campaign(workshop, tmp_path, 'here', print)
    campaign.run('upgrade', 1, seed=None)
    row, = rows(campaign.notes)
    assert (row['operation'], row['cuts'], row['bad']) == ('upgrade', 1, []), json.dumps(row)
