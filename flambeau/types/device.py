"""Where a tensor's memory lies."""

_KNOWN = ("cpu", "cuda", "meta", "mps", "xpu")


class Device:
    """A kind of device and the index of one: ``device("cuda:1")``. Interned, so comparison is by
    identity.
    """

    __slots__ = ("__weakref__", "index", "type")
    type: str
    index: int | None
    _made: "dict[tuple, Device]" = {}

    def __new__(cls, type="cpu", index=None):
        if isinstance(type, Device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        name, colon, number = type.partition(":")
        if colon:
            if index is not None:
                raise RuntimeError(
                    "type (string) must not include an index because index was passed explicitly: "
                    f"{type}"
                )
            if not number.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if name not in _KNOWN:
            raise RuntimeError(
                f"Expected one of {', '.join(_KNOWN)} device type at start of device string: {name}"
            )
        if index is not None and index < 0:
            raise RuntimeError("Device index must not be negative")
        made = cls._made.get((name, index))
        if made is None:
            made = object.__new__(cls)
            made.type, made.index = name, index
            cls._made[name, index] = made
        return made

    def __repr__(self):
        return (
            f"device(type='{self.type}'"
            + ("" if self.index is None else f", index={self.index}")
            + ")"
        )

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self):
        return Device, (self.type, self.index)


cpu = Device("cpu")
meta = Device("meta")
