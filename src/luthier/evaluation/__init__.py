"""Evaluation: what is asked, what scores an answer, and whether a difference is more than chance.

task       items: questions with what a right answer must and must not hold
graders    an item and an answer -> a verdict, which first proves itself on the item's own gold; a family per file
tasks      items, graders and settings in a file; figures of the whole set; choices and texts by likelihood
runner     a model on all items -> a result that keeps every prompt, answer and verdict
bits       bits per byte
stats      exact tests and intervals, power, equivalence
judge      a language model as judge, and what its verdicts are worth
probes     frozen questions: what must not be forgotten, what must not be refused
gate       a candidate against the champion -> ship, hold, reject, not enough evidence
compare    results on the same items -> better, worse, or not enough evidence

Importing this package loads nothing. It knows nothing of data, training and serving.
"""
