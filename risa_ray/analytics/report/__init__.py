"""The report of one store over some days: a page to read and print, or the views' tables as files."""
