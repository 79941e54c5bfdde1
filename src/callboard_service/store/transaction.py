"""What a job may do with the SQLite file under the conversation store, inside one transaction."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

SqlValue: TypeAlias = str | int | bytes | None


class Transaction:
    """The operations available between BEGIN and COMMIT, in the thread. Do not keep it longer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, *values: SqlValue) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str, *values: SqlValue) -> Iterator[sqlite3.Row]:
        """Yield the rows of a query one by one, reading each only when it is asked for."""
        yield from self._connection.execute(sql, values)

    def each_named(self, sql: str, values: Mapping[str, SqlValue]) -> Iterator[sqlite3.Row]:
        """Yield the rows of a query with named parameters, as `each` does."""
        yield from self._connection.execute(sql, values)

    def row(self, sql: str, *values: SqlValue) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def number(self, sql: str, *values: SqlValue) -> int:
        """Return the single integer that a query yields; 0 if it yields no row."""
        row = self.row(sql, *values)
        return int(row[0]) if row is not None else 0

    def state(self) -> tuple[int, int]:
        """Return a value that changes with every commit to the database, by any connection."""
        return self.number("PRAGMA data_version"), self._connection.total_changes

    def change(self, sql: str, *values: SqlValue) -> int:
        """Run a statement and return the number of rows that it changed."""
        return self._connection.execute(sql, values).rowcount

    def change_many(self, sql: str, values: Sequence[Sequence[SqlValue]]) -> None:
        """Run one statement for each of `values`."""
        self._connection.executemany(sql, values)
