"""`make fresh-test`: `make demo ONCE=1` on fresh Debian systems with git, make and python3-venv, and nothing else; needs root.

The host passes on how it reaches a package index: its resolver, certificates, proxy and what its pip is configured with.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.processes import ROOT, free_port

SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
PACKAGES = "git,make,python3-venv,ca-certificates"
USER = 1000
CHECKOUT = "home/user/mldeploy"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
COMPILERS = ("cc", "gcc", "g++", "clang", "c99")
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# In namespaces of its own: what is mounted and started there ends with it.
ENTER = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-ec"]
RUN = """
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
exec chroot --userspec="$2:$2" "$1" sh -c "cd /$3 && exec make demo ONCE=1 PORT=$4"
"""


def main() -> None:
    _check_host()
    for suite in sys.argv[1:] or SUITES:
        folder = Path(tempfile.mkdtemp(prefix="mldeploy-fresh-"))
        try:
            _bootstrap(suite, folder)
            _check_out(folder)
            _run_demo(suite, folder)
        finally:
            shutil.rmtree(folder)
    say("fresh-test passed")


def _check_host() -> None:
    """Ends the program with what is missing."""
    if os.geteuid():
        sys.exit("fresh-test needs root, to make a Debian system of its own and change into it")
    if not shutil.which("unshare"):
        sys.exit("fresh-test needs unshare (Debian: apt install util-linux)")
    if shutil.which("debootstrap"):
        return
    if not shutil.which("apt-get"):
        sys.exit("fresh-test needs debootstrap")
    say("installing debootstrap")
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "debootstrap")


def _bootstrap(suite: str, folder: Path) -> None:
    say(f"{SUITES.get(suite, suite)}: making a system with {PACKAGES.replace(',', ', ')}")
    _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(folder))
    folder.chmod(0o755)
    found = [name for name in COMPILERS for place in ("bin", "usr/bin", "usr/local/bin") if (folder / place / name).exists()]
    if found:
        sys.exit(f"fresh-test: the system has a compiler: {', '.join(found)}")
    for file in ("etc/resolv.conf", "etc/hosts", CERTIFICATES):
        if Path("/", file).exists():
            shutil.copy(Path("/", file), folder / file)


def _check_out(folder: Path) -> None:
    """Check out what is committed, for a user who is not root."""
    _run("chroot", str(folder), "useradd", "--create-home", "--uid", str(USER), "user")
    _run("git", "-c", "safe.directory=*", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder / CHECKOUT))
    _run("chown", "-R", f"{USER}:{USER}", str(folder / CHECKOUT))


def _run_demo(suite: str, folder: Path) -> None:
    since = time.monotonic()
    run = [*ENTER, RUN, "sh", str(folder), str(USER), CHECKOUT, str(free_port())]
    status = subprocess.run(run, env=_environment(folder), stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        sys.exit(f"fresh-test: make demo ended with status {status} on {SUITES.get(suite, suite)}")
    took = time.monotonic() - since
    version = (folder / CHECKOUT / ".venv/made-with").read_text().split()[0]
    say(f"\n{SUITES.get(suite, suite)}: make demo took {took:.0f} s from a clone to its end, on Python {version}")


def _environment(folder: Path) -> dict[str, str]:
    environment = {"HOME": "/home/user", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
    environment |= {name: os.environ[name] for name in PROXIES if name in os.environ}
    if (folder / CERTIFICATES).exists():
        environment |= {"PIP_CERT": f"/{CERTIFICATES}", "SSL_CERT_FILE": f"/{CERTIFICATES}"}
    for option, value in re.findall(
        r"^\S+?\.([a-z-]+)='(.*)'$", _run(sys.executable, "-m", "pip", "config", "list"), re.MULTILINE
    ):
        places = " ".join(place for place in value.split() if not place.startswith("file:"))  # those are the host's own
        if option in PIP_OPTIONS and places:
            environment["PIP_" + option.upper().replace("-", "_")] = places
    return environment


def _run(*command: str) -> str:
    """Return the output. Ends the program if the command fails."""
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"fresh-test: {' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
