"""What other tools made, as folders of ours: headers, names and shapes are checked first, pickle is never read."""
