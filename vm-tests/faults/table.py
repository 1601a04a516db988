# SPDX-License-Identifier: Apache-2.0
"""The one table: operation, kernel, kind of fault, what was tried, what was bad, the longest way back."""

KEY = ('operation', 'kernel', 'fault')
REPLAYED = ('prefix', 'subset', 'torn')


def row(operation, kernel, fault, tried, bad, worst=None):
    return {'operation': operation, 'kernel': kernel, 'fault': fault, 'tried': tried, 'bad': bad,
            'worst_recovery_seconds': None if worst is None else round(worst, 1)}


def replayed(chapter, kernel, count):
    """Rows of the states of a chapter; secrets on the disk are bad whatever the state."""
    rows = [row(chapter.name, kernel, kind, count.kinds[kind], count.bad_kinds[kind]) for kind in REPLAYED if count.kinds[kind]]
    if count.sectors or count.bad_kinds['plain']:
        rows.append(row(chapter.name, kernel, 'plain sector', count.sectors, count.bad_kinds['plain']))
    if count.repaired:
        rows.append(row(chapter.name, kernel, 'repaired', count.repaired, count.bad_repaired))
    return rows


def merged(rows):
    """Rows of the same operation, kernel and fault as one, in the order in which they first come."""
    found = {}
    for r in rows:
        have = found.setdefault(tuple(r[k] for k in KEY), {**r, 'tried': 0, 'bad': 0, 'worst_recovery_seconds': None})
        have['tried'] += r['tried']
        have['bad'] += r['bad']
        worst = [w for w in (have['worst_recovery_seconds'], r['worst_recovery_seconds']) if w is not None]
        have['worst_recovery_seconds'] = max(worst, default=None)
    return list(found.values())


def text(rows):
    lines = [f'{"operation":32}{"kernel":28}{"fault":14}{"tried":>10}{"bad":>6}{"worst recovery":>16}']
    for r in rows:
        worst = r['worst_recovery_seconds']
        lines.append(f'{r["operation"]:32}{r["kernel"]:28}{r["fault"]:14}{r["tried"]:10}{r["bad"]:6}'
                     f'{"" if worst is None else f"{worst:.1f} s":>16}')
    states = [r for r in rows if r['fault'] in REPLAYED]
    lines.append(f'{sum(r["tried"] for r in states)} replayed states, {sum(r["bad"] for r in states)} of them bad; '
                 f'{sum(r["tried"] for r in rows if r["fault"] == "cut")} real cuts')
    return '\n'.join(lines)
