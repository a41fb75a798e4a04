"""Tasks: items, graders and the settings of the answers, in a small YAML file beside a JSONL file.

definition   the YAML file -> a Task, every item proved by every grader
likelihood   choices scored instead of said
perplexity   texts that are measured, not asked
scores       figures of the whole set, with intervals

Importing this package loads nothing. It knows nothing of training and serving.
"""
