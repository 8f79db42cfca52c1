"""The headers of a request, by name."""


class Headers:
    """Names are in lower case. A value that is not ASCII counts for ``in`` but cannot be read by ``get``."""

    __slots__ = ("_values",)

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[bytes]] = {}
        for name, value in pairs:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """The first value of several."""
        values = self._values.get(name)
        return values[0].decode() if values and values[0].isascii() else None

    def items(self) -> list[tuple[str, str]]:
        """Each name once, with its values joined (RFC 9110, section 5.3; cookies: RFC 9113, section 8.2.3)."""
        return [
            (name, (b"; " if name == "cookie" else b", ").join(values).decode("latin-1")) for name, values in self._values.items()
        ]

    def get_all(self, name: str) -> list[str]:
        return [value.decode() for value in self._values.get(name, ()) if value.isascii()]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def count(self, name: str) -> int:
        return len(self._values.get(name, ()))
