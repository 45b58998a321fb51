"""Every file is whole, and its rows lie where their time says."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from risa_ray.store.maintenance import partition_files
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TIME_COLUMNS
from risa_ray.store.table import Table, file_system
from risa_ray.store.verify.check import Check, check, reason
from risa_ray.store.verify.reading import batches, partitions, place

_PARTS = frozenset(PARTITION_COLUMNS)


def check_files(table: Table) -> Check:
    """Every file of the snapshot is there, opens, has the rows that the log says, and columns of our types."""

    def work(problems: list[str]) -> str:
        files = file_system(table.delta)
        wanted = {f.name: f.type for f in table.schema if table.name not in PARTITIONED or f.name not in _PARTS}
        count = rows = 0
        for entry in (entry for entries in partition_files(table).values() for entry in entries):
            count += 1
            try:
                with files.open_input_file(entry["path"]) as source:
                    file = pq.ParquetFile(source)
                    found, schema = file.metadata.num_rows, file.schema_arrow
            except (OSError, pa.ArrowException) as error:
                missing = isinstance(error, FileNotFoundError)
                problems.append(f"{entry['path']} {'is missing' if missing else f'does not open ({reason(error)})'}")
                continue
            rows += found
            if found != entry["num_records"]:
                problems.append(f"{entry['path']} has {found} rows, the log says {entry['num_records']}")
            problems += [
                f"{entry['path']}: column {f.name} is {f.type}, not {wanted[f.name]}"
                for f in schema
                if f.name in wanted and not _same_type(f.type, wanted[f.name])
            ]
        return f"{count:,} files, {rows:,} rows"

    return check(f"{table.name}: files whole", work)


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Names of list items and nullability aside, which differ from writer to writer."""
    if pa.types.is_list(a) and pa.types.is_list(b):
        return _same_type(a.value_type, b.value_type)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        # A later version may have added fields.
        ours = {b.field(i).name: b.field(i).type for i in range(b.num_fields)}
        fields = [a.field(i) for i in range(a.num_fields)]
        return all(f.name in ours and _same_type(f.type, ours[f.name]) for f in fields)
    return bool(a == b) or (_is_text(a) and _is_text(b))


def _is_text(kind: pa.DataType) -> bool:
    # One and the same in a Parquet file; which of them Arrow makes of it is the writer's choice.
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def check_dates(table: Table) -> Check:
    """Every row of a partitioned table lies on the UTC day of its time."""
    column = TIME_COLUMNS[table.name]

    def work(problems: list[str]) -> str:
        rows = 0
        for partition in partitions(table):
            day, wrong = date.fromisoformat(dict(partition)["date"]), 0
            names = [column, "track_id"] if table.name == "closed_tracks" else [column]
            for batch in batches(table, names, partition):
                times = batch.column(0)
                if table.name == "closed_tracks":
                    # The row that says what the partition was made from has no track and no time.
                    times = times.filter(batch.column(1).is_valid())
                right = pc.equal(times.cast(pa.date32()), pa.scalar(day))
                wrong += len(times) - right.true_count
                rows += len(times)
            if wrong:
                problems.append(f"{place(partition)}: {wrong:,} rows with {column} on another UTC day, or none")
        return f"{rows:,} rows"

    return check(f"{table.name}: date is the UTC day of {column}", work)
