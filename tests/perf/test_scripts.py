"""Tests of the scripts of perf/: baselines, callgrind's files, set-up figures, peers. See test_scripts."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import sys
import tempfile
import types
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
PERF = os.path.join(HERE, "..", "..", "perf")


def load(name):
    """A script without .py as a module."""
    path = os.path.join(PERF, name)
    loader = importlib.machinery.SourceFileLoader(name.replace(".py", ""), path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def given(name):
    return os.path.join(HERE, name)


class Baseline(unittest.TestCase):
    def setUp(self):
        self.module = load("compare_baseline.py")
        self.about, self.old = self.module.read(given("old.jsonl"))

    def now(self, collective, size, ratio, self_ratio=1.0):
        return {**self.old[(collective, size, 2, "default")], "ratio": ratio,
                "low": ratio - 0.01, "high": ratio + 0.01, "self": self_ratio}

    def report(self, *points):
        new = {self.module.key_of(point): point for point in points}
        return self.module.report("old.jsonl", self.about, self.old, new, self.about)

    def test_reads_points_and_skips_unknown_kinds(self):
        self.assertEqual(len(self.old), 5)
        self.assertEqual(self.about["cores"], 2)

    def test_equal_run_is_no_regression(self):
        lines, slower, compared = self.module.report("old.jsonl", self.about, self.old, self.old,
                                                     self.about)
        self.assertEqual((slower, compared), (0, 5))
        self.assertEqual(len(lines), 1)

    def test_slower_beyond_noise_is_found_and_named(self):
        lines, slower, _ = self.report(self.now("allreduce", 8, 0.60))
        self.assertEqual(slower, 1)
        self.assertIn("slower: allreduce 8 B, 2 ranks, against default: ratio 0.500 -> 0.600",
                      lines[0])

    def test_faster_is_reported_but_passes(self):
        lines, slower, _ = self.report(self.now("bcast", 64, 0.40))
        self.assertEqual(slower, 0)
        self.assertTrue(lines[0].startswith("faster: bcast 64 B"))

    def test_change_within_the_least_noise_passes(self):
        self.assertEqual(self.report(self.now("allreduce", 16, 0.53))[1], 0)

    def test_spread_of_the_old_run_counts(self):
        # A/A of 0.8 in the baseline: 25 % may be chance
        self.assertEqual(self.report(self.now("allreduce", 32, 0.60))[1], 0)
        self.assertEqual(self.report(self.now("allreduce", 32, 0.70))[1], 1)

    def test_spread_of_the_new_run_counts(self):
        self.assertEqual(self.report(self.now("allreduce", 8, 0.60, 1.2))[1], 0)

    def test_barrier_has_no_size(self):
        self.assertIn("slower: barrier, 2 ranks", self.report(self.now("barrier", 0, 0.9))[0][0])

    def test_points_of_one_side_are_counted(self):
        point = {**self.now("bcast", 64, 0.5), "bytes": 128}
        lines, _, compared = self.report(point)
        self.assertEqual(compared, 0)
        self.assertIn("5 of the baseline not measured, 1 new", lines[-1])

    def test_another_machine_is_warned_of(self):
        lines, _, _ = self.module.report("old.jsonl", self.about, self.old, self.old,
                                         {**self.about, "cores": 64})
        self.assertIn("cores 2, this run 64", lines[0])

    def test_written_files_are_read_back(self):
        row = types.SimpleNamespace(collective="bcast", size=64, peer="default", ours=0.2,
                                    theirs=0.4, ratio=0.5, low=0.49, high=0.51, self_ratio=1.0)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "new.jsonl")
            self.module.write(path, {"cores": 2}, [self.module.point_of(row, 2)])
            about, points = self.module.read(path)
        self.assertEqual(about["cores"], 2)
        self.assertEqual(points[("bcast", 64, 2, "default")]["ratio"], 0.5)

    def test_bad_files_are_refused(self):
        for text in ("", "not json\n", "[]\n", '{"kind": "point"}\n',
                     '{"kind": "run"}\n'):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "bad.jsonl")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                with self.assertRaises(self.module.BadBaseline, msg=text):
                    self.module.read(path)
        with self.assertRaises(self.module.BadBaseline):
            self.module.read(given("no such file"))


class Instructions(unittest.TestCase):
    def setUp(self):
        self.module = load("instructions")
        with open(given("small.callgrind"), encoding="utf-8") as file:
            self.costs = self.module.read_costs(file)

    def test_total_is_callgrind_s(self):
        self.assertEqual(sum(self.costs.values()), 500)

    def test_inlined_code_belongs_to_its_own_file(self):
        layers = dict(self.module.by_layer(self.costs))
        self.assertEqual(layers, {"coll_rdma/component": 140, "coll_rdma/protocol": 40,
                                  "coll_rdma/engine": 200, "libmpi": 120})

    def test_breakdown_says_per_call(self):
        lines = self.module.breakdown("allreduce", self.costs, 10, 1)
        self.assertEqual(lines[0], "allreduce: 50.0 instructions per call, 38.0 inside the "
                         "component, 12.0 outside")
        self.assertEqual(lines[-1].split(), ["crdma_op_run_ll", "(coll_rdma/engine)", "20.0"])


class Setup(unittest.TestCase):
    def setUp(self):
        self.module = load("setup")

    def test_slowest_rank_and_mean_memory(self):
        run = self.module.read_run("setup,empty,0,10.0,0.0,5.0,1000,500\nnoise\n"
                                   "setup,empty,1,12.0,0.0,1.0,2000,700\n", 2)
        self.assertEqual((run["init"], run["finalize"], run["total"]), (12.0, 5.0, 15.0))
        self.assertEqual((run["rss"], run["pss"]), (1500, 600))

    def test_a_missing_rank_is_noticed(self):
        with self.assertRaises(self.module.Failure):
            self.module.read_run("setup,empty,0,10.0,0.0,5.0,1000,500\n", 2)

    def test_medians_and_the_halves_of_the_other_side(self):
        runs = {"with": [{"x": 5.0}, {"x": 9.0}, {"x": 6.0}],
                "without": [{"x": 4.0}, {"x": 1.0}, {"x": 4.0}, {"x": 3.0}]}
        self.assertEqual(self.module.summary(runs, "x"), (6.0, 3.5, 2.0))


PAIR = ("peer,round,collective,bytes,ranks,batch,groups,served_us,plain_us,ratio,ratio_low,"
        "ratio_high,self,self_low,self_high,quiet,late,verified\n")
ALONE = "peer,round,collective,bytes,ranks,batch,groups,median_us,low_us,probe_ns,verified\n"


def pair(collective, size, us, ratio, self_ratio=1.0, right=1, job=0):
    return (f"sm,{job},{collective},{size},2,1,25,{us},{us / ratio},{ratio},{ratio},{ratio},"
            f"{self_ratio},1,1,1,0,{right}\n")


def alone(peer, turn, us, probe):
    return f"{peer},{turn},bcast,64,2,1,25,{us},{us},{probe},1\n"


class Peers(unittest.TestCase):
    def setUp(self):
        self.module = load("peers_report")

    def read(self, name, text):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
            return self.module.read(folder)

    def lines(self, name, *arguments):
        caught = io.StringIO()
        with contextlib.redirect_stdout(caught):
            getattr(self.module, name)(*arguments)
        return caught.getvalue()

    def test_slower_only_beyond_the_noise(self):
        points, _, wrong = self.read("open-2-sm.csv", PAIR + pair("bcast", 8, 2.0, 1.02) +
                                     pair("bcast", 16, 2.0, 1.20, 1.25) +
                                     pair("bcast", 32, 2.0, 1.20) + pair("bcast", 64, 2.0, 0.5,
                                                                         right=0))
        with tempfile.TemporaryDirectory() as folder:
            text = self.lines("losses", points, folder)
        self.assertIn("noise: 1 of 4 points", text)
        self.assertIn("2 bcast       32 B  1.20", text)
        self.assertEqual(wrong, [("sm", 2, "bcast", 64)])

    def test_median_of_jobs(self):
        points, jobs, _ = self.read("open-2-sm.csv", PAIR + "".join(
            pair("bcast", 8, 2.0, ratio, job=job) for job, ratio in enumerate((1.5, 0.5, 0.7))))
        found = points[(2, "bcast", 8)][0]
        self.assertEqual((found.ratio, found.low, found.high), (0.7, 0.5, 1.5))
        self.assertEqual(len(jobs), 3)

    def test_runs_at_different_distances_are_apart(self):
        text = ALONE + "".join(alone(peer, turn, us * (1 if turn < 2 else 4),
                                     50 if turn < 2 else 210)
                               for peer, us in (("rdma", 1), ("other", 2), ("rdma-again", 1))
                               for turn in range(4))
        text += alone("other", 4, 0.1, 50 * 2)  # the distance changed meanwhile: dropped
        points, jobs, _ = self.read("other-2.csv", text)
        found = {point.peer: point.ratio for point in points[(2, "bcast", 64)]}
        self.assertEqual(found, {"other/near": 0.5, "other/far": 0.5})
        self.assertEqual({job[2] for job in jobs}, {"/near", "/far"})

    def test_checks_find_the_cliff_and_the_sum(self):
        _, jobs, _ = self.read("open-2-sm.csv", PAIR + pair("bcast", 8, 1.0, 1) +
                               pair("reduce", 8, 1.0, 1) + pair("allreduce", 8, 3.0, 1) +
                               pair("bcast", 16, 3.3, 1) + pair("bcast", 32, 6.0, 1))
        self.assertIn("allreduce, 8 B: 1.50", self.lines("check", jobs, "sum",
                                                         self.module.over_sum))
        steep = self.lines("check", jobs, "half", self.module.over_half)
        self.assertIn("1 of 2 points", steep)
        self.assertIn("bcast, 16 B: 1.50", steep)


class Applications(unittest.TestCase):
    def test_row_of_medians(self):
        runs = {"with": [{"total": (4, 2.0), "bcast": (200, 1.0)}] * 2,
                "without": [{"total": (4, 4.0), "bcast": (200, 3.0)}] * 2}
        caught = io.StringIO()
        with contextlib.redirect_stdout(caught):
            load("applications").row("x", runs)
        self.assertEqual(caught.getvalue(),
                         "| x | 2.00 | 4.00 | 0.50 (0.50 to 0.50) | 1.00 to 1.00 | 50% | 75% | "
                         "bcast 200 |\n")


if __name__ == "__main__":
    unittest.main()
