"""The store: Delta Lake tables of Parquet files, written exactly once by many writers at the same time."""
