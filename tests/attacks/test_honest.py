"""Line 41: honest work that must not be hindered; where it is, that is said."""

from __future__ import annotations

import pytest

from executor.client import Limits, Result
from tests.attacks.stacks import Target

pytestmark = pytest.mark.executor

PATIENT = Limits(wall_seconds=30.0)

LOOPBACK = """
import asyncio
async def serve(reader, writer):
    writer.write(await reader.readline()); writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"echo\\n")
    print((await reader.readline()).decode().strip())
    server.close()
asyncio.run(main())
"""


async def run(target: Target, code: str) -> Result:
    return await target.python(code, workspace="work", limits=PATIENT)


@pytest.mark.attack("41a")
async def test_threads(target: Target) -> None:
    """A pool of eight, which needs clone3 to fail in the right way."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool: print(sum(pool.map(len, ['ab'] * 50)))\n"
    )
    result = await run(target, code)
    assert (result.stdout, result.stderr) == (b"100\n", b"")


POOL = (
    "import multiprocessing\n"
    "def double(x): return 2 * x\n"
    "if __name__ == '__main__':\n"
    "    with multiprocessing.Pool(2) as pool: print(pool.map(double, [3, 4]))\n"
)


@pytest.mark.attack("41b")
async def test_multiprocessing(target: Target) -> None:
    """A pool, with its locks in shared memory."""
    result = await run(target, POOL)
    assert (result.stdout, result.stderr) == (b"[6, 8]\n", b"")


@pytest.mark.refusal("41b")
async def test_multiprocessing_says_what_it_lacks(target: Target) -> None:
    """It fails at once with an error that names the matter, and does not hang."""
    result = await run(target, POOL)
    assert (result.reason, result.code) == ("exit", 1)
    assert b"PermissionError" in result.stderr or b"FileNotFoundError" in result.stderr


@pytest.mark.attack("41c")
async def test_subprocesses_and_pipes(target: Target) -> None:
    """From Python and from bash, with a here-document and a pipeline."""
    code = (
        "import subprocess\n"
        "print(subprocess.run(['tr', 'a', 'b'], input=b'aa', stdout=-1).stdout.decode())\n"
    )
    assert (await run(target, code)).stdout == b"bb\n"
    shell = "seq 100 | grep 7 | wc -l; cat <<< here; diff <(echo 1) <(echo 1) && echo same"
    assert (await target.bash(shell)).stdout == b"19\nhere\nsame\n"


@pytest.mark.attack("41d")
async def test_asyncio_on_localhost(target: Target) -> None:
    """A server and a client in one job, over the box's own loopback."""
    result = await run(target, LOOPBACK)
    assert (result.stdout, result.stderr) == (b"echo\n", b"")


@pytest.mark.refusal("41d")
async def test_asyncio_on_localhost_is_told_no(target: Target) -> None:
    """The socket is denied, not the loop: asyncio itself runs."""
    result = await run(target, LOOPBACK)
    assert (result.reason, result.code) == ("exit", 1)
    code = "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', 1))"
    assert b"PermissionError" in (await run(target, code)).stderr
    code = "import asyncio\nasyncio.run(asyncio.sleep(0.01))\nprint('slept')"
    assert (await run(target, code)).stdout == b"slept\n"


@pytest.mark.attack("41e", needs="numpy")
async def test_numpy(target: Target) -> None:
    """With its own threads, and more address space than memory."""
    code = "import numpy as np\nm = np.ones((300, 300))\nprint((m @ m).sum())"
    result = await run(target, code)
    assert (result.stdout, result.stderr) == (b"27000000.0\n", b"")


@pytest.mark.attack("41f", slow=True, needs="pandas")
async def test_pandas(target: Target) -> None:
    """A frame, to a file and back."""
    code = (
        "import pandas as pd\n"
        "pd.DataFrame({'a': range(5), 'b': 'x'}).to_csv('frame.csv', index=False)\n"
        "print(pd.read_csv('frame.csv').groupby('b').a.sum().x)\n"
    )
    result = await run(target, code)
    assert (result.stdout, result.stderr) == (b"10\n", b"")


@pytest.mark.attack("41g", slow=True, needs="matplotlib")
async def test_a_plot_comes_back_as_a_picture(target: Target) -> None:
    """What `plt.show()` shows is an artifact, and nothing of it is left in the workspace."""
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 4])\nplt.show()\nprint('shown')"
    result = await run(target, code)
    assert (result.stdout, result.stderr) == (b"shown\n", b"")
    assert [one.data[:4] for one in result.artifacts] == [b"\x89PNG"]
    assert (await target.bash("ls -A .plots", workspace="work")).code != 0


@pytest.mark.attack("41h", slow=True)
async def test_100_mb_are_copied(target: Target) -> None:
    """Within the quota of a workspace, in files of a size that is allowed."""
    code = "head -c 50000000 /dev/urandom > a; cp a b; cp b c; cmp a c && echo same; rm -f a b c"
    result = await target.bash(code, workspace="work", limits=PATIENT)
    assert (result.reason, result.stdout, result.stderr) == ("exit", b"same\n", b"")
