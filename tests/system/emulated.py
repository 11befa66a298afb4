"""A system booted by an emulator, on a kernel of its own with control groups of version 2.

Emulated without hardware help it is ten times slower than the host, and now and then dies in the
emulator: it is tried again. Nothing is shared with the host: the disk is an image made from a
folder, the system runs one unit, powers itself off, and the report is read from the image.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.system import debian

_TRIES = 4
_LIMIT = 900.0
_IMAGE = "3G"
_UNIT = """\
[Unit]
Description=The rig
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh -eux /root/rig.sh >/var/rig.log 2>&1; echo $? >/var/rig.code'
ExecStopPost=/bin/sh -c 'journalctl --no-pager >/var/rig.journal; sync; poweroff -f'
StandardOutput=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""


class Died(Exception):
    """The emulator, or the system in it, ended before the rig's unit did."""


def run_in(root: Path, script: str, reports: tuple[str, ...]) -> dict[str, str]:
    """Boot a copy of `root` that runs `script` as root; give the files that it wrote, by path.

    Raises AssertionError with log and journal if the script failed.
    """
    (root / "root" / "rig.sh").write_text(script)
    (root / "etc" / "systemd" / "system" / "rig.service").write_text(_UNIT)
    debian.chroot(root, "systemctl enable rig.service")
    for number in range(_TRIES):
        image = root.with_name(f"{root.name}-{number}.img")
        try:
            return _once(root, image, reports)
        except Died as death:
            last = death
        finally:
            image.unlink(missing_ok=True)
    raise last


def _once(root: Path, image: Path, reports: tuple[str, ...]) -> dict[str, str]:
    debian.run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, image, _IMAGE)
    console = _emulate(root, image)
    code = _read(image, "/var/rig.code").strip()
    if not code:
        raise Died(console[-3000:])
    log = _read(image, "/var/rig.log") + _read(image, "/var/rig.journal")[-8000:]
    assert code == "0", log
    return {path: _read(image, path) for path in reports}


def _emulate(root: Path, image: Path) -> str:
    """Run the emulator to its end and give what it wrote on the console. Raises Died."""
    try:
        done = subprocess.run(
            _command(root, image),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Died(f"nothing for {_LIMIT:g} s: {(error.stdout or b'')[-3000:]!r}") from error
    return done.stdout.decode(errors="replace")


def _command(root: Path, image: Path) -> list[str]:
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    (initrd,) = (root / "boot").glob("initrd.img-*")
    return [
        *("qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "qemu64", "-m", "2048"),
        *("-nographic", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", "root=LABEL=root rw console=ttyS0 panic=1 quiet"),
        *("-drive", f"file={image},format=raw,if=virtio,cache=unsafe", "-nic", "none"),
    ]


def _read(image: Path, path: str) -> str:
    """A file in an image that nobody has mounted; empty if it is not there."""
    words = ["debugfs", "-R", f"cat {path}", str(image)]
    done = subprocess.run(words, capture_output=True, check=False)
    return done.stdout.decode(errors="replace")
