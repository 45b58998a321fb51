-- stays: people.stays, one row per person and stay in a zone; refuses while k > 1. docs/metrics.md: stay, k-floor.
CREATE VIEW stays AS SELECT * FROM people.stays WHERE single_people('stays');
