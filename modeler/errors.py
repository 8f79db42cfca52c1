"""The error of a table that cannot be used."""


class BadTrainingData(ValueError):
    """The table cannot be used; the message says why and what it takes."""
