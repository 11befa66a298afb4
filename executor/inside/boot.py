"""How the trusted code gets into an interpreter that cannot see our files: as text, in memory.

`zygote` and `box` are the two ways in; each is called by a command line that says no more than
where the code is (`executor.bundle`). Modules are loaded from memory when they are imported, under
the names that they have here.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, NoReturn

_PACKAGES = ("executor", "executor.inside")
_BUNDLE = 4


class Finder:
    """Finds modules in a dict of code objects by their full names."""

    def __init__(self, codes: dict[str, CodeType]) -> None:
        self.codes = codes

    def find_spec(self, name: str, _path: object, _target: object = None) -> Any:
        if name not in self.codes and name not in _PACKAGES:
            return None
        return sys.modules["_frozen_importlib"].ModuleSpec(
            name, self, origin="memory", is_package=name in _PACKAGES
        )

    def create_module(self, _spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        if module.__name__ in self.codes:
            exec(self.codes[module.__name__], module.__dict__)


def zygote(sources: dict[str, str], preload: tuple[str, ...]) -> NoReturn:
    """Compile the sources, keep them ready for boxes that are executed, and be the zygote."""
    codes = {name: compile(text, name, "exec") for name, text in sources.items()}
    sys.meta_path.insert(0, Finder(codes))
    from executor.inside import box, zygote

    _keep(marshal.dumps({"codes": codes, "filters": box.filters()}))
    zygote.main(preload)


def _keep(data: bytes) -> None:
    """Put the bundle where the zygote finds it, in place of the one that we came in."""
    memory = os.memfd_create("bundle", os.MFD_CLOEXEC)
    os.write(memory, data)
    os.dup2(memory, _BUNDLE, inheritable=False)
    os.close(memory)


def box(bundle: dict[str, Any], confinement: dict[str, Any]) -> NoReturn:
    """Be the first process of a box that was executed."""
    sys.meta_path.insert(0, Finder(bundle["codes"]))
    from executor.inside import box

    box.use_filters(bundle["filters"])
    box.serve(confinement)
