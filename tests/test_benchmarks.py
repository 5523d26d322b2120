"""The benchmarks run: what is measured, not how much of it."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks import report
from benchmarks.__main__ import Taken, database, take
from benchmarks.caller import Caller
from benchmarks.contenders import OURS, RAW, TEXTBOOK, Contender
from benchmarks.contenders.posts import POSTS
from benchmarks.data_access import BY_HAND, DATA_ACCESS
from benchmarks.load import Load, hold_streams, send_requests
from benchmarks.measures import MEASURES, answers
from benchmarks.run import Effort, Numbers, Run
from benchmarks.server import Server
from benchmarks.targets import TARGETS

CHEAP = [measure for measure in MEASURES if measure.name == "cpu"]
TARGETS_OF_CPU = [target for target in TARGETS if target.measure == "cpu"]
BROKEN = Contender("broken", "no_such_module:create_app")
DATA = [measure for measure in MEASURES if measure.name in ("repository", "bulk", "pages")]
WAYS = [access for access in DATA_ACCESS if access.name != "fastcrud"]
ANSWERS = [measure for measure in MEASURES if measure.name == "answers"]
EFFORT = Effort(rounds=1, requests=4, seconds=0.1, bulk_rows=200, page_rows=400)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Start a server for two contenders, and one that does not start."""
    with database() as (server, url):
        yield Run(server, url, [TEXTBOOK, OURS, BROKEN], WAYS, EFFORT)


@pytest.fixture(scope="module")
def taken(run: Run) -> Taken:
    """Take the cheapest measure."""
    return take(CHEAP, run)


def test_numbers_of_every_contender_are_measured(taken: Taken):
    """A contender that starts has numbers, and none of its requests fails."""
    for measure in CHEAP:
        numbers = taken.results[measure.name]
        assert set(numbers) == {TEXTBOOK.name, OURS.name}
        assert all(value >= 0 for values in numbers.values() for value in values.values())


def test_contender_that_fails_stops_nothing(taken: Taken):
    """It is shown with its reason, and has no numbers."""
    for measure in CHEAP:
        assert set(taken.failures[measure.name]) == {BROKEN.name}
        assert "no_such_module" in taken.failures[measure.name][BROKEN.name]


@pytest.fixture(scope="module")
def data_taken(run: Run) -> Taken:
    """Take the measures of data access with few rows."""
    return take(DATA, run)


def test_data_access_is_measured_beside_statements_by_hand(data_taken: Taken):
    """This library and the statements by hand have numbers for each verb."""
    for measure in DATA:
        numbers = data_taken.results[measure.name]
        assert numbers[OURS.name].keys() >= numbers[BY_HAND.name].keys() != set()


def test_peer_that_is_not_installed_is_left_out(data_taken: Taken):
    """It is shown with its reason; nothing else fails."""
    peers = {access.name for access in WAYS if access.packages} - {OURS.name}
    for measure in DATA:
        failures = data_taken.failures[measure.name]
        assert set(failures) <= peers <= data_taken.results[measure.name].keys() | failures.keys()
        assert all("ModuleNotFoundError" in reason for reason in failures.values())


@pytest.fixture(scope="module")
def answers_taken(run: Run) -> Taken:
    """Take the measure of answers, of three applications and one that fails."""
    return take(ANSWERS, replace(run, contenders=[*run.contenders, RAW]))


def test_answers_are_measured_beside_objects(answers_taken: Taken):
    """This library has numbers with answers and with objects."""
    numbers = answers_taken.results["answers"]
    assert set(numbers) == {TEXTBOOK.name, answers.OBJECTS.name, OURS.name, RAW.name}
    measured = [name for name in numbers[OURS.name] if not name.startswith(answers.RATE)]
    assert all(values[name] > 0 for values in numbers.values() for name in measured)
    assert set(answers_taken.failures["answers"]) == {BROKEN.name}


def test_contenders_answer_the_same(run: Run, answers_taken: Taken):
    """Numbers of different answers would compare nothing."""
    for path in answers.KINDS.values():
        found = []
        for contender in (TEXTBOOK, answers.OBJECTS, answers.ANSWERS, answers.RAW_ANSWERS):
            with Caller(contender, run.url) as caller:
                found.append(json.loads(caller.body("GET", path)))
        assert found[0]
        assert found[1:] == found[:1] * 3


def test_streams_have_all_rows(run: Run, answers_taken: Taken):
    """With objects, with answers and by hand."""
    for contender in answers.STREAMING:
        with Caller(contender, run.url) as caller:
            lines = caller.body("GET", answers.STREAM).splitlines()
        assert len(lines) == POSTS
        assert json.loads(lines[-1])["id"] == POSTS


def test_targets_name_what_is_measured(taken: Taken, data_taken: Taken, answers_taken: Taken):
    """Each target of these measures has a value; a misspelt column would have none."""
    results = taken.results | data_taken.results | answers_taken.results
    targets = [target for target in TARGETS if target.measure in results]
    assert {target.measure for target in targets} == set(results)
    assert [target.label for target in targets if target.value(results) is None] == []


def test_clients_send_requests_and_hold_streams(run: Run):
    """Under a real server requests are answered, and streams stay open."""
    load = Load(0, "GET", "/items/1", clients=2, requests=4)
    with Server(OURS, run.url) as server:
        outcome = send_requests(replace(load, port=server.port))
        streams = replace(load, port=server.port, path="/stream", seconds=1.5)
        assert hold_streams(streams) == 2
    assert (len(outcome.answered), outcome.failed) == (4, [])


def test_targets_name_measures():
    """Each target belongs to a measure."""
    assert {target.measure for target in TARGETS} <= {measure.name for measure in MEASURES}


def test_number_that_keeps_to_its_limit_is_met():
    """Lowest and highest values, and numbers that are missing."""
    at_most = replace(TARGETS[0], measure="m", column="c", limit=2)
    at_least = replace(at_most, at_least=True)
    results = [{"m": {OURS.name: {"c": value}}} for value in (1.0, 2.0, 3.0)]
    assert [at_most.is_met(result) for result in results] == [True, True, False]
    assert [at_least.is_met(result) for result in results] == [False, True, True]
    assert not at_most.is_met({"m": {}})


def test_page_has_targets_tables_and_failures(taken: Taken):
    """Everything that was measured is on the page of results."""
    page = report.results(CHEAP, taken.results, taken.failures, ["throughput.png"], [])
    assert "| CPU of a read, textbook = 1 | <= 0.73 |" in page
    assert f"\n| {OURS.name} | " in page
    assert "\n- broken: " in page
    assert "![throughput.png](charts/throughput.png)" in page


def test_page_is_updated_in_part(taken: Taken, data_taken: Taken):
    """Sections, charts and targets of a measure are renewed or added; all others stay."""
    old: dict[str, Numbers] = {measure.name: {} for measure in CHEAP}
    page = report.results([*CHEAP, *DATA], old | data_taken.results, {}, ["latency.png"], ["facts"])
    new = report.updated(page, CHEAP, taken.results, taken.failures, ["cpu.png"], "On a Monday.")
    again = report.updated(new, CHEAP, taken.results, taken.failures, ["cpu.png"], "On a Monday.")
    assert again == new
    value = report.number(TARGETS_OF_CPU[0].value(taken.results))
    assert f"| {TARGETS_OF_CPU[0].label} | <= 0.73 | {value} | " in new
    assert new.count("| CPU of get, by hand = 1 |") == 1
    assert "On a Monday.\n\n|  | read |" in new
    assert new.count("![cpu.png](charts/cpu.png)") == 1
    [kept] = [part for part in page.split("## ") if part.startswith(DATA[0].title)]
    assert kept in new


def test_page_gets_measures_that_it_lacks(taken: Taken, data_taken: Taken):
    """A measure that is new comes at the end, and its targets below the others."""
    page = report.results(DATA, data_taken.results, {}, [], ["facts"])
    new = report.updated(page, CHEAP, taken.results, taken.failures, [], "On a Monday.")
    assert new.index(CHEAP[0].title) > new.index(DATA[-1].title)
    assert new.index(TARGETS_OF_CPU[0].label) > new.index("page 10,000 by time")
    assert new.startswith(page.partition("## Targets")[0])
