"""Training: recipes, objectives, the loop, and what a person sees of a run."""
