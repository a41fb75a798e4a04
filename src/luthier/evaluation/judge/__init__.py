"""A language model as judge: rubric scores, pairs, and what its verdicts are worth.

rubric       criteria with anchored scales, from a small YAML file
framing      a case as the judge sees it: the answer is data between marks that it cannot know
degenerate   answers that are none, found before the judge is asked
replies      the typed verdict in a reply, or why there is none
model        who is asked: an OpenAI-compatible endpoint or a local model
cache        replies that were paid for, on disk
asking       prompts to typed verdicts: cache, retries, counts, cost
scoring      1 to 5 per criterion
pairing      which of two is better, asked in both orders
results      saved evaluation results through a judge
answers      what to judge, from files
rows         their rows, checked
agreement    kappa and alpha
labels       what people said, and how far the judge agrees
probe        the built-in questions and injections
trial        what moves the judge that should not
report       fit to decide, not fit to decide, not tested

Importing this package loads nothing. A judge decides nothing by itself: a gate may ask `report.find_report`.
"""
