"""Functions of `flambeau.nn.functional` that are more than one op, one file per family."""
