"""mpi4py programs through the component: numpy buffers, pickled objects, in place, user operations.

Catches what a C test does not meet: buffers that Python allocates and moves, objects whose pickled size
the receivers learn only from an earlier broadcast, and many communicators freed by the
garbage collector.
"""
import sys

sys.dont_write_bytecode = True
from python_common import MPI, check, np, passed, rank, size, world  # noqa: E402


def same(expected, got, what):
    wrong = np.nonzero(np.asarray(expected != got))[0]
    if wrong.size:
        i = wrong[0]
        check(False, f"{what}: index {i}: expected {expected[i]}, got {got[i]}")
    check(True, what)


def arrays(comm, name):
    me, n = comm.Get_rank(), comm.Get_size()
    for dtype in ("i4", "i8", "f4", "f8", "c16"):
        for count in (1, 2, 17, 1000, 4097, 200000):
            base = (np.arange(count) % 97).astype(dtype)
            result = np.empty(count, dtype)
            what = f"Allreduce of {count} x {dtype} on {name}"
            comm.Allreduce(base * (me + 1), result)
            same(base * (n * (n + 1) // 2), result, what)
            result = base * (me + 1)
            comm.Allreduce(MPI.IN_PLACE, result)
            same(base * (n * (n + 1) // 2), result, what + " in place")
            root = count % n
            result = base + 5 if me == root else np.zeros(count, dtype)
            comm.Bcast(result, root=root)
            same(base + 5, result, f"Bcast of {count} x {dtype} on {name}, root {root}")
            result = np.zeros(count, dtype)
            comm.Reduce(base + me, result if me == root else None, root=root)
            if me == root:
                same(base * n + n * (n - 1) // 2, result, f"Reduce of {count} x {dtype} on {name}")
    comm.Barrier()


def objects(comm, name):
    for length in (0, 1, 10, 1000, 100000):
        thing = {"text": "x" * length, "list": list(range(length % 1000)), "rank": 7}
        root = length % comm.Get_size()
        got = comm.bcast(thing if comm.Get_rank() == root else None, root=root)
        check(got == thing, f"bcast of an object with {length} characters on {name}")
    total = comm.allreduce(comm.Get_rank() + 1)
    check(total == comm.Get_size() * (comm.Get_size() + 1) // 2, f"allreduce of int on {name}")
    joined = comm.allreduce([comm.Get_rank()])
    check(joined == list(range(comm.Get_size())), f"allreduce of lists on {name}")
    largest = comm.reduce((comm.Get_rank(), "rank"), op=MPI.MAX, root=0)
    if 0 == comm.Get_rank():
        check(largest == (comm.Get_size() - 1, "rank"), f"reduce of tuples on {name}")


def first_nonzero(left, right, _):
    """Not commutative: the value of the lowest rank that has one."""
    a, b = np.frombuffer(left, "i8"), np.frombuffer(right, "i8")
    b[:] = np.where(a != 0, a, b)


arrays(world, "COMM_WORLD")
objects(world, "COMM_WORLD")
half = world.Split(rank % 2, -rank)
arrays(half, "half, reversed")
objects(half, "half, reversed")
half.Free()
for _ in range(20):
    copy = world.Dup()
    objects(copy, "dup")
    copy.Free()

op = MPI.Op.Create(first_nonzero, commute=False)
mine = np.where(np.arange(5000) % size >= rank, rank + 1, 0).astype("i8")
result = np.zeros(5000, "i8")
world.Allreduce(mine, result, op=op)
same(np.ones(5000, "i8"), result, "Allreduce with a Python operation")
op.Free()

column = MPI.DOUBLE.Create_vector(50, 1, 40).Commit()
matrix = np.full((50, 40), float(rank))
world.Bcast([matrix, 1, column], root=size - 1)
expected = np.full((50, 40), float(rank))
expected[:, 0] = size - 1
check((expected == matrix).all(), "Bcast of a matrix column")
column.Free()

world.Barrier()
passed()
