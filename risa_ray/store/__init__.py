"""The store: Delta Lake tables of Parquet files, written exactly once by many writers at the same time."""

import os

# Delta Lake's Rust core comes with jemalloc, which keeps freed pages in an arena per thread: over hundreds of commits a
# committer would grow by 0.2 MB each. It reads this when `deltalake` is first imported, hence here.
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0,lg_tcache_max:10")
