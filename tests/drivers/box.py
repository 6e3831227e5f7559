"""A Debian machine with a real systemd, in namespaces of this one: what an operator does is done in it, as root.

Needs root, debootstrap and systemd-nspawn, a kernel with cgroup v2 and overlayfs, and, the first time, a Debian mirror.
The machine has a loopback interface alone. Python and packages are this environment's, mounted where every account may
read them; echod itself is installed in the machine, from a wheel.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,libgomp1"
PYTHON, LIBRARIES = Path("/usr/local/python"), Path("/usr/local/lib/packages")
NEEDS = ("debootstrap", "systemd-nspawn", "nsenter", "unshare")
# systemd wants cgroup v2 to itself, whatever this machine has mounted.
BOOT = """
mount --make-rprivate / && umount --recursive /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir -p /sys/fs/cgroup/{name} && echo $$ >/sys/fs/cgroup/{name}/cgroup.procs
mount -t overlay overlay -o lowerdir={base},upperdir={upper},workdir={work} {root} || exit 1
exec systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --console=pipe --capability=all \
    --system-call-filter='bpf' --machine={name} --directory={root} {binds} </dev/null
"""


def lacking() -> str | None:
    """Why no such machine can be had here."""
    if os.geteuid() != 0:
        return "not root"
    if missing := [name for name in NEEDS if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not installed"
    filesystems = Path("/proc/filesystems").read_text().split()
    return next((f"the kernel has no {name}" for name in ("cgroup2", "overlay") if name not in filesystems), None)


def base(cache: Path) -> Path:
    """A bare Debian root file system, made once."""
    root = cache / "debian"
    if not (root / "made").exists():
        shutil.rmtree(root, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "stable", str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (root / "made").touch()
    return root


@dataclass
class Box:
    """`tell` is called with what is typed and what comes of it."""

    base: Path
    directory: Path
    name: str = "box"
    tell: Callable[[str], None] = lambda line: None
    leader: int = 0
    binds: dict[Path, Path] = field(default_factory=dict)

    @contextlib.contextmanager
    def run(self) -> Iterator[Box]:
        for name in ("upper", "work", "root"):
            (self.directory / name).mkdir(parents=True)
        self._prepare(self.directory / "upper")
        with (self.directory / "console").open("wb") as console:
            # The console belongs to nspawn: the machine has no terminal of ours.
            nspawn = subprocess.Popen(
                ["unshare", "--mount", "bash", "-c", self._script()], stdout=console, stderr=console, process_group=0
            )
        try:
            self._wait(nspawn)
            yield self
        finally:
            if self.leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, signal.SIGRTMIN + 4)  # poweroff
            try:
                nspawn.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(nspawn.pid, signal.SIGKILL)
                nspawn.wait()

    def sh(self, command: str, *, code: int | None = 0, user: str | None = None, text: str | None = None) -> str:
        """A line that somebody types in the machine, and what it prints; the test fails if it ends otherwise."""
        self.tell(f"{'$' if user else '#'} {command}")
        argv = ["nsenter", "--target", str(self.leader), "--all", "env", "-i", *ENVIRON]
        argv += ["runuser", "-u", user, "--", "env", f"HOME=/home/{user}"] if user else []
        ended = subprocess.run(
            [*argv, "bash", "-c", f"cd $HOME; {command}"], input=text, capture_output=True, text=True, timeout=600
        )
        said = (ended.stdout + ended.stderr).strip()
        for line in said.splitlines():
            self.tell(line)
        assert code is None or ended.returncode == code, f"{command}: {ended.returncode}: {said}"
        return said

    def install(self, wheel: Path) -> None:
        """Have the environment /opt/echod, with this echod in it, as `pip install` makes one with a network."""
        self.sh(f"{self.python} -m venv /opt/echod")
        site = f"/opt/echod/lib/python{sysconfig.get_python_version()}/site-packages"
        self.sh(f"printf '%s\\n' {LIBRARIES}/* >{site}/packages.pth")
        self.pip(wheel)

    def pip(self, wheel: Path) -> None:
        place = f"/opt/{wheel.name}"
        self.put(wheel, place)
        self.sh(f"/opt/echod/bin/pip install --quiet --no-index --no-deps --force-reinstall {place}")

    def put(self, source: Path, place: str) -> None:
        """Copy a file, or a directory, into the machine."""
        shown = f"/proc/{self.leader}/root{place}"
        if source.is_dir():
            shutil.copytree(source, shown, symlinks=True)
        else:
            shutil.copyfile(source, shown)
            Path(shown).chmod(0o644)

    def get(self, place: str) -> Path:
        """Where a file of the machine is for us."""
        return Path(f"/proc/{self.leader}/root{place}")

    @property
    def python(self) -> str:
        return "/usr/bin/python3" if sys.base_prefix == "/usr" else str(PYTHON / "bin" / "python3")

    def _prepare(self, upper: Path) -> None:
        packages = [Path(place) for place in sys.path if Path(place).name == "site-packages"]
        self.binds |= {place: LIBRARIES / str(number) for number, place in enumerate(packages)}
        if sys.base_prefix != "/usr":
            self.binds |= {Path(sys.base_prefix): PYTHON}
            (upper / "etc/ld.so.conf.d").mkdir(parents=True)
            (upper / "etc/ld.so.conf.d/python.conf").write_text(f"{PYTHON / 'lib'}\n")
        for place in self.binds.values():
            (upper / place.relative_to("/")).mkdir(parents=True)

    def _script(self) -> str:
        paths = {name: self.directory / name for name in ("upper", "work", "root")}
        binds = " ".join(f"--bind-ro={source}:{place}" for source, place in self.binds.items())
        return BOOT.format(name=self.name, base=self.base, binds=binds, **paths)

    def _wait(self, nspawn: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and nspawn.poll() is None:
            children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
            if children:
                self.leader = int(children[-1])
                with contextlib.suppress(AssertionError):
                    tell, self.tell = self.tell, lambda line: None
                    try:
                        state = self.sh("systemctl is-system-running", code=None)
                    finally:
                        self.tell = tell
                    if state in ("running", "degraded"):
                        self.sh("ldconfig")
                        return
            time.sleep(0.2)
        raise AssertionError(f"it did not boot: {(self.directory / 'console').read_text()[-2000:]}")


ENVIRON = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
