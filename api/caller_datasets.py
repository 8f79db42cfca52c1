"""The data sets of the caller. An admin also sees those from before the first key, unless it has one of the same name."""

from api.http.context import api_context, service
from models.datasets import DatasetRecord, Found, UnknownDataset, scoped, unscoped_name


def find(name: str) -> Found:
    context, datasets = api_context(), service().datasets
    if unscoped_name(name) != name:  # the stored name of another caller's data set
        return Found(None, "")
    found = datasets.find(scoped(context.caller, name))
    if found.record is None and context.caller and context.is_admin:
        legacy = datasets.find(name)
        return legacy if legacy.record else found
    return found


def names() -> list[str]:
    context, datasets = api_context(), service().datasets
    legacy = datasets.names_of("") if context.caller and context.is_admin else []
    return sorted({*datasets.names_of(context.caller), *legacy})


def get(name: str) -> DatasetRecord:
    """Raises UnknownDataset."""
    record = find(name).record
    if record is None:
        raise UnknownDataset(f"there is no data set {name[:64]}; there are: {', '.join(names()) or 'none yet'}")
    return record


def stored_name(name: str) -> str:
    """The name under which the data set is stored."""
    record = find(name).record
    return record.name if record else scoped(api_context().caller, name)
