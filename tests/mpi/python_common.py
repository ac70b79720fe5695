"""What the Python tests share: numpy and mpi4py or a skip, checks, the closing line.

Failures are one line on stderr, then MPI_Abort, as in the C programs. Import it with sys.dont_write_bytecode set: the
tests may be in a folder that is not ours to write to.
"""
import os
import sys

name = os.path.basename(sys.argv[0]).removesuffix(".py")


def skip(reason):
    print(f"{name}: SKIP {reason}")
    sys.exit(77)


try:
    import numpy as np
    from mpi4py import MPI
except ImportError as missing:
    skip(missing)

world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
checks = 0


def check(condition, what):
    global checks
    if not condition:
        print(f"{name}: FAIL rank {rank}/{size}: {what}", file=sys.stderr, flush=True)
        world.Abort(1)
    checks += 1


def passed(note=None):
    if rank == 0:
        print(f"{name}: passed, {size} ranks, {checks} checks on rank 0" + (f", {note}" if note else ""))
