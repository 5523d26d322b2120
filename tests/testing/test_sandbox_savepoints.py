"""The order in which savepoints are begun and ended, seen in SQL."""

from fastapi_asyncdb.testing.sandbox.savepoint_stack import Savepoint, Savepoints


def test_one_inside_of_another_is_released_first():
    """The earlier one's commit waits for the later one's end."""
    sql: list[str] = []
    savepoints = Savepoints(sql.append)
    first, second = savepoints.begin(Savepoint()), savepoints.begin(Savepoint())
    savepoints.commit(first)
    assert len(sql) == 2
    savepoints.commit(second)
    assert sql[2:] == [f"RELEASE SAVEPOINT {second.name}", f"RELEASE SAVEPOINT {first.name}"]


def test_commit_that_waited_is_done_after_a_rollback():
    """A rollback ends the later one as well as a commit does."""
    sql: list[str] = []
    savepoints = Savepoints(sql.append)
    first, second = savepoints.begin(Savepoint()), savepoints.begin(Savepoint())
    savepoints.commit(first)
    savepoints.rollback(second)
    assert sql[2:] == [
        f"ROLLBACK TO SAVEPOINT {second.name}",
        f"RELEASE SAVEPOINT {second.name}",
        f"RELEASE SAVEPOINT {first.name}",
    ]
