"""Evaluation: what is asked, what scores an answer, and whether a difference is more than chance.

task       items: questions with what a right answer must and must not hold
graders    an item and an answer -> a verdict, which first proves itself on the item's own gold
runner     a model on all items -> a result that keeps every prompt, answer and verdict
stats      exact tests and intervals
compare    results on the same items -> better, worse, or not enough evidence

Importing this package loads nothing. It knows nothing of data, training and serving.
"""
