"""Baselines of coll_rdma_compare: results kept as JSON lines, and what has become slower since.

The first line of a file says where and how it was measured ({"kind": "run", ...}), each other line is
one point ({"kind": "point", ...}): collective, bytes, ranks, peer, both times in us, ratio with its
bounds, A/A ratio. Lines of an unknown kind are skipped, so that later versions may add some.

What is compared is the ratio, not the time: the peer is measured in the same run on the same
machine, so a slower machine changes both sides. A point has regressed if its ratio, at the lower
end of its bounds, is above the old ratio, at the upper end of its, by more than the noise: the
furthest that the A/A ratio of this point missed 1 by, in either run, and never less than 3 %.
"""

import json

LEAST_NOISE = 0.03
NUMBERS = ("us", "peer_us", "ratio", "low", "high", "self")


class BadBaseline(Exception):
    """A file that is no baseline."""


def point_of(row, ranks):
    """A row of coll_rdma_compare as a point."""
    return {"kind": "point", "collective": row.collective, "bytes": row.size, "ranks": ranks,
            "peer": row.peer, "us": round(row.ours, 4), "peer_us": round(row.theirs, 4),
            "ratio": round(row.ratio, 4), "low": round(row.low, 4), "high": round(row.high, 4),
            "self": round(row.self_ratio, 4)}


def key_of(point):
    return (point["collective"], point["bytes"], point["ranks"], point["peer"])


def write(path, about, points):
    """Write a baseline; `about`: a dictionary that says where and how."""
    with open(path, "w", encoding="utf-8") as file:
        for line in [{"kind": "run", **about}] + points:
            file.write(json.dumps(line) + "\n")


def read(path):
    """(about, {key: point}) of a file."""
    about, points = {}, {}
    try:
        with open(path, encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                line = json.loads(text)
                if line.get("kind") == "run":
                    about = line
                elif line.get("kind") == "point":
                    if any(not isinstance(line[name], (int, float)) for name in NUMBERS):
                        raise BadBaseline(f"{path}, line {number}: a value is no number")
                    points[key_of(line)] = line
    except OSError as error:
        raise BadBaseline(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError) as error:
        raise BadBaseline(f"{path}, line {number}: not a line of a baseline ({error})") from None
    if not points:
        raise BadBaseline(f"{path}: no points")
    return about, points


def noise_of(*points):
    """How far chance alone moves a ratio: the worst A/A of these points."""
    return max([LEAST_NOISE] + [max(point["self"], 1 / point["self"]) - 1 for point in points
                                if point["self"] > 0])


def compare(old, new):
    """Points of `new` as (point, old point, change, noise) in three lists: slower, faster, same;
    and the points that only one side has."""
    slower, faster, same = [], [], []
    for key in sorted(set(old) & set(new)):
        before, now = old[key], new[key]
        noise = noise_of(before, now)
        found = (now, before, now["ratio"] / before["ratio"] - 1, noise)
        if now["low"] > before["high"] * (1 + noise):
            slower.append(found)
        elif now["high"] * (1 + noise) < before["low"]:
            faster.append(found)
        else:
            same.append(found)
    return slower, faster, same, sorted(set(old) ^ set(new))


def text_of(found):
    now, before, change, noise = found
    size = "" if now["bytes"] == 0 else f" {now['bytes']} B"
    return (f"{now['collective']}{size}, {now['ranks']} ranks, against {now['peer']}: ratio "
            f"{before['ratio']:.3f} -> {now['ratio']:.3f} ({change:+.1%}, noise {noise:.1%}), "
            f"{before['us']:.2f} -> {now['us']:.2f} us")


def report(path, about, old, new, here):
    """Lines that say what has changed since the baseline, and how many points are slower."""
    slower, faster, same, alone = compare(old, new)
    lines = []
    for name in ("cpu", "cores", "mpi"):
        if name in about and about[name] != here.get(name):
            lines.append(f"warning: the baseline has {name} {about[name]}, this run "
                         f"{here.get(name)}")
    lines += ["slower: " + text_of(found) for found in slower]
    lines += ["faster: " + text_of(found) for found in faster]
    missing = [key for key in alone if key in old]
    if not slower and not faster and not same:
        lines.append(f"no point of {path} was measured now")
    lines.append(f"against {path} of {about.get('date', 'unknown date')}: {len(slower)} slower, "
                 f"{len(faster)} faster, {len(same)} within the noise; {len(missing)} of the "
                 f"baseline not measured, {len(alone) - len(missing)} new")
    return lines, len(slower), len(slower) + len(faster) + len(same)
