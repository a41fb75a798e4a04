"""The command line: one file per verb group, nothing heavy imported before a verb runs."""
