"""What generated code may use of the processor it runs on."""

from typing import NamedTuple


class Target(NamedTuple):
    """Bytes of a vector register; whether half precision converts and masked moves are
    instructions.
    """

    vector_bytes: int
    half: bool
    masks: bool

    @property
    def attributes(self) -> str:
        bits = self.vector_bytes * 8
        width = f'"prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'
        return f'nounwind "no-trapping-math"="true" {width}'


PLAIN = Target(16, False, False)


def target_of(features) -> Target:
    """The target of a machine with these features: a mapping of LLVM's names to whether the machine
    has them.
    """
    wide = all(features.get(name) for name in ("avx512f", "avx512bw", "avx512vl", "avx512dq"))
    if wide:
        return Target(64, True, True)
    if features.get("avx2"):
        return Target(32, bool(features.get("f16c")), False)
    return Target(16, bool(features.get("f16c") or features.get("fullfp16")), False)
