"""Makes the sample tasks and the embedded models from the tables beside it: `python -m nblib.tools --help`."""
