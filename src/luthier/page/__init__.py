"""Pages for the browser in one file: frame, style, tables, charts; without network and without scripts.

The training report and the data report are made of it. Knows nothing of runs or data.
"""
