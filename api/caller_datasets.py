"""The caller's own data sets. An admin has those of the time before keys besides, unless one of its own has the name."""

from api.http.context import api_context, service
from models.datasets import DatasetRecord, Found, UnknownDataset, scoped, shown


def find(name: str) -> Found:
    here, datasets = api_context(), service().datasets
    if shown(name) != name:  # it would be another caller's
        return Found(None, "")
    found = datasets.find(scoped(here.caller, name))
    if found.record is None and here.caller and here.is_admin:
        before = datasets.find(name)
        return before if before.record else found
    return found


def names() -> list[str]:
    here, datasets = api_context(), service().datasets
    before = datasets.names_of("") if here.caller and here.is_admin else []
    return sorted({*datasets.names_of(here.caller), *before})


def get(name: str) -> DatasetRecord:
    """Raises UnknownDataset."""
    record = find(name).record
    if record is None:
        raise UnknownDataset(f"there is no data set {name[:64]}; there are: {', '.join(names()) or 'none yet'}")
    return record


def place(name: str) -> str:
    """The name under which rows for it are kept."""
    record = find(name).record
    return record.name if record else scoped(api_context().caller, name)
