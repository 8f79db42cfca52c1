"""The ledger's Lua scripts, each with the parts of the others that it needs.

Redis makes a script's functions anew each time it runs, and that takes longer than many a command: none has parts that it does
not use.
"""

from importlib import resources

from jobs.job import LANES, Kind
from settings import Settings

# In the order in which they build on one another.
PARTS = {
    "add": ("clock", "memory", "keys", "lanes", "pace", "bulk", "bells"),
    "cancel": ("clock", "memory", "keys", "lanes", "ends", "bulk", "bells"),
    "claim": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk"),
    "condition": ("clock", "memory", "keys", "lanes", "bulk", "bells"),
    "deliver": ("clock", "memory", "keys", "lanes", "bulk", "bells"),
    "failed": ("clock", "keys"),
    "finish": ("clock", "memory", "keys", "lanes", "ends", "bulk", "bells"),
    "list": ("clock", "keys"),
    "read": ("clock", "keys", "pace"),
    "reconcile": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk", "bells"),
    "renew": ("clock", "memory", "keys", "lanes", "bulk", "bells"),
    "report": ("clock", "keys"),
    "retire": ("clock", "keys"),
    "sign_off": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk", "bells"),
    "stop": ("clock", "memory", "keys", "lanes", "ends", "bulk", "bells"),
    "take_back": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk", "bells"),
}
MAX_DELIVERIES = 32  # in one claim


def source(name: str, settings: Settings) -> str:
    """A script, with what comes before it."""
    lanes = ", ".join(f"{kind} = {{{', '.join(map(repr, names))}}}" for kind, names in LANES.items())
    most = ", ".join(f"{kind} = {_most_claimed(kind, settings)}" for kind in LANES)
    folder = resources.files("jobs") / "lua"
    head = f"local LANES, CLAIMED_AT_ONCE = {{{lanes}}}, {{{most}}}\n"
    return head + "".join((folder / f"{part}.lua").read_text() for part in (*PARTS[name], name))


def _most_claimed(kind: str, settings: Settings) -> int:
    """Trainings are claimed one at a time."""
    return {Kind.TRAIN: 1, Kind.WEBHOOK: MAX_DELIVERIES}.get(Kind(kind), settings.claim_jobs)
