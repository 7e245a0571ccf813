"""What each column of a table was taken for, before anything is learned from it."""

from itertools import groupby

from rich.table import Table

from jaxbp.data import Schema

_SHOWN = 30  # columns that are listed one by one
_ENDS = 3  # of a longer run of columns of one kind


def summary(schema: Schema) -> Table | None:
    """A row for each column, long runs of one kind as one; None where nothing was told of them."""
    if not any(column.told for column in schema.columns if column is not schema.label):
        return None
    table = Table("column", "taken for", "in the training part", title="the columns of the table")
    for kind, group in groupby(schema.columns, lambda column: (column.kind, column.used)):
        columns = list(group)
        shown = columns if len(schema.columns) <= _SHOWN or len(columns) <= 2 * _ENDS else columns[:_ENDS]
        for column in shown:
            table.add_row(column.name, _KINDS.get(kind[0], kind[0]), column.told)
        if len(shown) < len(columns):
            table.add_row("...", _KINDS.get(kind[0], kind[0]), f"{len(columns) - len(shown)} further columns")
    return table


_KINDS = {"classes": "label: classes", "target": "label: a number", "date": "date, in days"}
