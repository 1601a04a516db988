# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin for runs in several processes: tests that share what was made for their module stay in one process, in
their order, so that it is made once and a story is told from its beginning. All others go to whoever is free. The groups
begin, the largest one first: a long story that began last would leave the other processors idle."""
import collections

import pytest


def shares(item):
    found = item._fixtureinfo.name2fixturedefs.values()
    return any(definition.scope == "module" for definitions in found for definition in definitions)


@pytest.hookimpl(tryfirst=True)      # before xdist looks at the marks
def pytest_collection_modifyitems(items):
    groups = collections.Counter()
    for item in items:
        if shares(item):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
            groups[item.module.__name__] += 1
    items.sort(key=lambda item: -groups[item.module.__name__] if shares(item) else 1)
