"""What matplotlib shows becomes a picture: a backend whose `show` writes PNG files.

They go into a directory of the workspace from which the executor gives them back, in the order in
which they were shown. `install` puts the backend in the way of the first import of matplotlib, so
that code that never draws pays nothing, and processes that the code starts see nothing of it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = ".plots"
_BACKEND = "famulus_plots"


def install() -> None:
    """Have every figure that is shown from now on written down."""
    sys.meta_path.insert(0, _Hook())
    if "matplotlib" in sys.modules:
        _choose(sys.modules["matplotlib"])


def _choose(matplotlib: Any) -> None:
    matplotlib.rcParams["backend"] = "module://" + _BACKEND


class _Hook:
    """Brings the backend, and adds one step to the import of matplotlib, which others find."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name == _BACKEND:
            return sys.modules["_frozen_importlib"].ModuleSpec(name, _BackendLoader())
        if name != "matplotlib":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader)  # type: ignore[assignment]  # acts like one
                return spec
        return None


class _Loader:
    """matplotlib's own loader, and then the choice of the backend."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: Any) -> Any:
        return self._inner.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._inner.exec_module(module)
        _choose(module)


class _BackendLoader:
    """Makes the backend's module of Agg and our `show`."""

    def create_module(self, _spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        from matplotlib.backends import backend_agg

        module.FigureCanvas = backend_agg.FigureCanvasAgg
        module.FigureManager = backend_agg.FigureManagerBase
        module.show = show


def show(*_arguments: Any, **_options: Any) -> None:
    """Write all open figures down, and close them as a window would be."""
    from matplotlib import pyplot as plt

    os.makedirs(DIRECTORY, exist_ok=True)
    for number in plt.get_fignums():
        name = "plot-%d.png" % (len(os.listdir(DIRECTORY)) + 1)
        plt.figure(number).savefig(os.path.join(DIRECTORY, name))
    plt.close("all")
