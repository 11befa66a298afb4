"""The readable text of a page: the program of a child process that knows nothing and may do little.

    python -I extract.py

HTML from anywhere goes through a large parser in C, and can make it take any time and any memory.
So that happens here. The process has an empty environment and a bounded share of time and memory,
and before it looks at the page it gives up opening files and sockets and starting processes. It
reads a line with the page's URL and then the page, in UTF-8, and answers in JSON.
"""

import ctypes
import json
import resource
import signal
import struct
import sys

MEMORY = 1024 * 1024 * 1024  # bytes of address space
CPU_SECONDS = 15
MOST_TEXT = 200_000  # characters of text that are given back
MOST_TITLE = 300

_LIMITS = (
    (resource.RLIMIT_AS, MEMORY),
    (resource.RLIMIT_CPU, CPU_SECONDS),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_CORE, 0),
)

# linux/prctl.h, linux/landlock.h; the numbers are the same on all machines.
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET = 444
_RESTRICT_SELF = 446
_ASK_VERSION = 1
_FIRST_FILE_RIGHTS = 13  # in version 1; 2 and 3 brought one each
_MOST_FILE_RIGHTS = 15
_TCP = 3  # bind and connect, since version 4
_SCOPES = 3  # abstract sockets and signals, since version 6

_WARM = "<html><body><article><h1>a</h1><p>a <a href='/b'>b</a></p></article></body></html>"


def main() -> None:
    """Read, extract, answer."""
    for limit, value in _LIMITS:
        resource.setrlimit(limit, (value, value))
    url = sys.stdin.buffer.readline().decode().strip()
    source = sys.stdin.buffer.read().decode("utf-8", "replace")
    article(_WARM, "https://example.org/")  # loads all that is loaded when it is first used
    confine()
    title, text = article(source, url)
    answer = {"title": title[:MOST_TITLE], "text": text[:MOST_TEXT], "cut": len(text) > MOST_TEXT}
    sys.stdout.write(json.dumps(answer))


def confine() -> None:
    """Be able to open nothing and to start nothing from now on, and end with the daemon."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    leave_processes_alone(libc)
    # No descriptor may have a number of 0 or more: no file, no socket.
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))


def leave_processes_alone(libc: ctypes.CDLL) -> None:
    """Give up tracing and signalling what is outside, by Landlock, where the kernel has it."""
    version = libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return
    files = (1 << min(_FIRST_FILE_RIGHTS + version - 1, _MOST_FILE_RIGHTS)) - 1
    known = [files, *([_TCP] if version > 3 else []), *([_SCOPES] if version > 5 else [])]  # noqa: PLR2004
    rights = struct.pack(f"{len(known)}Q", *known)
    ruleset = libc.syscall(_CREATE_RULESET, rights, len(rights), 0)
    if ruleset < 0 or libc.syscall(_RESTRICT_SELF, ruleset, 0) < 0:
        raise OSError(ctypes.get_errno(), "landlock")


def article(source: str, url: str) -> tuple[str, str]:
    """Title and main text of a page; '' for what it does not have."""
    import trafilatura  # noqa: PLC0415  (only here, in the child)

    tree = trafilatura.load_html(source)
    if tree is None:
        return "", ""
    title = " ".join((tree.findtext(".//title") or "").split())
    text = trafilatura.extract(
        tree,
        url=url,
        output_format="markdown",
        include_links=True,
        include_tables=True,
        include_comments=False,
    )
    return title, text or ""


if __name__ == "__main__":
    main()
