"""The ledger's Lua scripts, each with the shared parts that it needs.

Redis creates a script's functions again each time it runs, which takes longer than many commands: so no script has parts that
it does not use.
"""

from importlib import resources

import compare_and_set
from jobs.failures import CANCELED, EXPIRED, NO_ROOM, STOPPED
from jobs.job import LANES, Kind
from settings import Settings

# Script -> the parts that it needs, in the order of their dependencies
PARTS = {
    "add": ("clock", "memory", "keys", "lanes", "pace", "bulk", "wakeups"),
    "cancel": ("clock", "memory", "keys", "lanes", "ends", "bulk", "wakeups"),
    "claim": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk"),
    "condition": ("clock", "memory", "keys", "lanes", "bulk", "wakeups"),
    "deliver": ("clock", "memory", "keys"),
    "failed": ("clock", "keys"),
    "finish": ("clock", "memory", "keys", "lanes", "ends", "bulk", "wakeups"),
    "finish_and_claim": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk", "wakeups"),
    "list": ("clock", "keys"),
    "read": ("clock", "keys", "pace"),
    "reconcile": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk", "wakeups"),
    "renew": ("clock", "memory", "keys", "lanes", "bulk", "wakeups"),
    "report": ("clock", "keys"),
    "retire": ("clock", "keys"),
    "sign_off": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk", "wakeups"),
    "stop": ("clock", "memory", "keys", "lanes", "ends", "bulk", "wakeups"),
    "take_back": ("clock", "memory", "keys", "lanes", "ends", "owners", "bulk", "wakeups"),
}
STEPS = {"finish_and_claim": ("finish", "claim")}  # script -> the scripts that it runs as functions
MAX_DELIVERIES = 32  # in one claim


def source(name: str, settings: Settings) -> str:
    """The source of a script, with its constants and parts."""
    lanes = ", ".join(f"{kind} = {{{', '.join(map(repr, names))}}}" for kind, names in LANES.items())
    max_claimed = ", ".join(f"{kind} = {_max_claimed(kind, settings)}" for kind in LANES)
    folder = resources.files("jobs") / "lua"
    head = f"local LANES, CLAIMED_AT_ONCE = {{{lanes}}}, {{{max_claimed}}}\n"
    failures = _failures() if "ends" in PARTS[name] else ""
    changes = compare_and_set.LUA if "finish" in (name, *STEPS.get(name, ())) else ""
    parts = [(folder / f"{part}.lua").read_text() for part in PARTS[name]]
    steps = [f"local function {step}(ARGV)\n{(folder / f'{step}.lua').read_text()}end\n" for step in STEPS.get(name, ())]
    return "".join((head, failures, changes, *parts, *steps, (folder / f"{name}.lua").read_text()))


def _failures() -> str:
    """The errors of jobs that a script ends, as constants."""
    found = {"EXPIRED": EXPIRED, "CANCELED": CANCELED, "STOPPED": STOPPED, "NO_ROOM": NO_ROOM}
    return "".join(f"local {name} = [==[{failure.to_json().decode()}]==]\n" for name, failure in found.items())


def _max_claimed(kind: str, settings: Settings) -> int:
    """Jobs in one claim: trainings are claimed one at a time."""
    return {Kind.TRAIN: 1, Kind.WEBHOOK: MAX_DELIVERIES}.get(Kind(kind), settings.claim_jobs)
