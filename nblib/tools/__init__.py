"""Makes what the repository ships; nobody has to read it to understand the study: `python -m nblib.tools --help`."""
