"""What computes answers, behind one seam: `engine` says what an engine does; each other file is one of them."""
