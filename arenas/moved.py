"""Import lines of earlier versions: a module that moved is still found under its old name, with a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class MovedModules(MetaPathFinder, Loader):
    """Finds modules by their old names.

    Args:
        moved: old name -> new name, both dotted in full; of a module that was split, several apart by spaces.
    """

    def __init__(self, moved: Mapping[str, str]) -> None:
        self.moved = moved

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for an old name; None for any other."""
        return ModuleSpec(name, self, is_package=False) if name in self.moved else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module under its new name, and warn."""
        new = self.moved[spec.name].split()
        warnings.warn(f"{spec.name} is now {' and '.join(new)}", DeprecationWarning, stacklevel=2)
        modules = [import_module(name) for name in new]
        if len(modules) > 1:
            joined = ModuleType(spec.name)
            for part in reversed(modules):
                joined.__dict__.update({name: value for name, value in vars(part).items() if name[:2] != "__"})
            self._own: ModuleSpec | None = spec
            return joined
        self._own = modules[0].__spec__
        return modules[0]

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module ran under its new name, whose spec it keeps."""
        module.__spec__ = self._own


def still_found(moved: Mapping[str, str]) -> None:
    """Keep old module names importable: after the search for existing modules has failed."""
    sys.meta_path.append(MovedModules(moved))
