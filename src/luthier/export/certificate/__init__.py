"""The proof that every form of a model answers as the trained one did, and the likely cause where one does not.

probes: what is asked. forms: a model as it runs elsewhere. measure: numbers. causes: hypotheses that reproduce a
difference. verdict: the words. page: for people. Knows nothing of how forms are made.
"""
