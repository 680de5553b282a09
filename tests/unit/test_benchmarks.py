"""What the benchmarks make of their values: ratios, goals, merged results, and a page that admits what is slower."""

import json
import tomllib
from pathlib import Path

import pytest
from benchmarks import page, table
from benchmarks.__main__ import parse
from benchmarks.measure import MODULES, MS, OURS, PERCENT_OF_IDEAL, Curve, Goal, Measure, Side
from benchmarks.peers import NOTES
from benchmarks.results import Outcome, Results, Row, Values, describe_run
from benchmarks.subjects import MEASURES

MEASURE = Measure(
    "pool.apply",
    "work",
    MS,
    {name: Side(lambda setting: 0.0) for name in (OURS, "stdlib", "joblib", "mpire")},
    [Goal(10, ("stdlib", "joblib")), Goal(2)],
)


def row_of(measure=MEASURE, **values):
    row = Row.empty(measure)
    for side, outcome in values.items():
        for value in outcome if isinstance(outcome, list) else [outcome]:
            row.sides[side].add(value if isinstance(value, Outcome) else Outcome(value=value), 1)
    for side in row.sides.values():
        side.close()
    return row


def results_of(*rows, size="full"):
    about = describe_run(method="fork", workers=2, rounds=1, size=size, candidate=OURS)
    return Results(about, {row.measure.name: row for row in rows})


def test_a_ratio_says_how_many_times_better_our_median_is():
    assert row_of(procession=[1.0, 2.0, 100.0], stdlib=[10.0, 8.0, 12.0]).ratio("stdlib") == 5


def test_a_ratio_of_what_should_be_more_is_the_other_way_round():
    measure = MEASURE._replace(unit=PERCENT_OF_IDEAL)
    assert row_of(measure, procession=90.0, stdlib=45.0).ratio("stdlib") == 2


def test_a_goal_is_against_the_best_of_its_peers():
    assert row_of(procession=1.0, stdlib=30.0, joblib=20.0).goals[0][1] is True
    assert row_of(procession=1.0, stdlib=30.0, joblib=5.0).goals[0][1] is False


def test_a_goal_without_peers_is_a_limit():
    assert row_of(procession=1.9, stdlib=30.0).goals[1][1] is True
    assert row_of(procession=2.1, stdlib=30.0).goals[1][1] is False


def test_a_peer_that_is_not_there_is_no_failure_and_the_goal_looks_at_the_others():
    missing = Outcome(skipped="joblib is not installed")
    assert row_of(procession=1.0, stdlib=30.0, joblib=missing).goals[0][1] is True
    assert row_of(procession=1.0, stdlib=missing, joblib=missing).goals[0][1] is None


def test_a_goal_is_missed_where_we_fail():
    assert row_of(procession=Outcome(failed="killed by SIGSEGV"), stdlib=30.0).goals[0][1] is False


def test_rows_that_are_measured_anew_take_the_place_of_the_old_ones(tmp_path):
    stored = tmp_path / "results.json"
    other = MEASURE._replace(name="pool.submit")
    stored.write_text(results_of(row_of(procession=1.0), row_of(other, procession=2.0)).as_json())
    results = Results.from_json(stored)
    results.merge(results_of(row_of(procession=3.0)))
    assert [row.ours.values for row in results.rows.values()] == [[3.0], [2.0]]


def test_results_of_two_kinds_of_run_do_not_merge():
    with pytest.raises(ValueError, match="another size: full"):
        results_of(row_of(procession=1.0)).merge(results_of(row_of(procession=1.0), size="quick"))


def test_results_survive_being_stored(tmp_path):
    stored = tmp_path / "results.json"
    curve = MEASURES["curves.size"]
    row = row_of(curve, procession=dict.fromkeys(curve.points, 1.5), ray=Outcome(skipped="ray is not installed"))
    stored.write_text(results_of(row).as_json())
    restored = Results.from_json(stored)
    assert restored.rows["curves.size"].sides == row.sides
    assert json.loads(restored.as_json()) == json.loads(stored.read_text())


def test_a_measure_or_side_that_no_longer_exists_is_dropped(tmp_path):
    stored = tmp_path / "results.json"
    row = row_of(procession=1.0)
    row.sides["parallel python"] = Values([1.0])
    stored.write_text(results_of(row, row_of(MEASURE._replace(name="pool.gone"), procession=1.0)).as_json())
    restored = Results.from_json(stored)
    assert list(restored.rows) == ["pool.apply"]
    assert "parallel python" not in restored.rows["pool.apply"].sides


def test_the_page_admits_missed_goals_and_faster_peers():
    row = row_of(procession=1.0, stdlib=3.0, joblib=4.0, mpire=0.5)
    assert page.shortfalls(row) == ["goal >= 10x against stdlib: 3.00x", "mpire is 2.00 times as good"]
    assert f"**{row.measure.work}** (`pool.apply`)" in page.page(results_of(row))


def test_the_page_admits_the_points_at_which_a_curve_is_lower():
    curve = MEASURES["curves.size"]
    ours, theirs = dict.fromkeys(curve.points, 10.0), dict.fromkeys(curve.points, 5.0) | {"1 GB": 20.0}
    row = row_of(curve, procession=ours, joblib=theirs)
    assert page.shortfalls(row) == ["joblib has more at 1 GB (2.00 times as much)"]


def test_the_page_says_why_a_side_has_no_figure():
    text = page.page(results_of(row_of(procession=1.0, joblib=Outcome(failed="no end within 60 s"))))
    assert "- work, joblib: failed: no end within 60 s" in text


def test_the_page_in_docs_is_what_its_results_and_reasons_make():
    """If not: python -m benchmarks --from-json docs/benchmarks.json --page docs"""
    docs = Path(page.__file__).parents[1] / "docs"
    assert (docs / "benchmarks.md").read_text() == page.page(Results.from_json(docs / "benchmarks.json"))
    assert (docs / "benchmarks.svg").stat().st_size < 100_000


def test_the_terminal_shows_a_line_for_each_peer_that_was_measured():
    lines = table.plain(results_of(row_of(procession=1.0, stdlib=30.0, joblib=20.0))).splitlines()
    assert [line.split()[3:4] for line in lines[2:3]] == [["the"]]
    assert sum(" joblib " in line or " stdlib " in line for line in lines) == 2
    assert not any(" mpire " in line for line in lines)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_every_measure_has_our_side_first_and_goals_against_sides_that_exist(measure):
    assert next(iter(measure.sides)) == OURS
    assert measure.needed <= set(measure.sides)
    assert isinstance(measure, Curve) or len(measure.sides) > 1 or measure.goals


def test_every_peer_has_a_note_on_how_it_is_set_up():
    sides = {side for measure in MEASURES.values() for side in measure.sides if not side.startswith(OURS)}
    unexplained = {side for side in sides if side.split()[0] not in NOTES} - {page.IDEAL, *page.LIMITS}
    assert unexplained == set()
    assert set(MODULES) - {OURS} <= set(NOTES)


def test_every_reason_is_of_a_row_that_exists():
    assert tomllib.loads(page.REASONS.read_text()).keys() <= MEASURES.keys()


def test_no_file_of_the_benchmarks_is_too_long():
    assert max(len(path.read_text().splitlines()) for path in Path(page.__file__).parent.glob("*.py")) <= 450


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--only", "locks"], {"locks.with", "locks.contended", "locks.value", "locks.add"}),
        (["-k", "pool.apply", "-k", "pipes.small"], {"pool.apply", "pipes.small"}),
        (["--from-json", "some.json"], set()),
        (["--from-json", "some.json", "-k", "pool.apply"], {"pool.apply"}),
        ([], set(MEASURES)),
    ],
)
def test_the_command_line_selects_measures(arguments, names):
    assert {measure.name for measure in parse(arguments).measures} == names


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--peer", "nobody"], ["--rounds", "0"]])
def test_the_command_line_refuses_what_is_not_there(arguments, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert "error" in capsys.readouterr().err
