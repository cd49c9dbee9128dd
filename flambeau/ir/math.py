"""Stand-in until the scalar functions land."""


def __getattr__(name):
    def missing(*args):
        raise NotImplementedError(f"ir.math.{name}")

    return missing
