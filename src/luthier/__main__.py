"""`python -m luthier` is the same as `luthier`."""

from luthier.cli.main import main

main()
