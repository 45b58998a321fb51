-- tracks: people.tracks, one row per person followed; refuses while k > 1. docs/metrics.md: track, k-floor.
CREATE VIEW tracks AS SELECT * FROM people.tracks WHERE single_people('tracks');
