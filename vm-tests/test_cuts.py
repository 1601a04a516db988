# SPDX-License-Identifier: Apache-2.0
"""Real power cuts at random moments, a few; "make faults" makes them by the hundred. A reset is cut in test_reset.py."""
import json

import pytest

from faults.cuts import Campaign, rows


@pytest.mark.parametrize('name', ['upgrade', 'enroll tpm'])
def test_power_cut(workshop, tmp_path, name):
    campaign = Campaign(workshop, tmp_path, 'here', print)
    campaign.run(name, 1, seed=None)
    row, = rows(campaign.notes)
    assert (row['operation'], row['cuts'], row['bad']) == (name, 1, []), json.dumps(row)
