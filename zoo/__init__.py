"""Zoo: Keras parts and studies of how networks generalise, play and recover."""

import os

__version__ = "0.1.0"

# In a bare checkout the sibling folders (layers/, losses/, ...) are zoo's subpackages.
_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if all(
    os.path.isfile(os.path.join(_root, *path))
    for path in (("setup.py",), ("layers", "__init__.py"))
):
    __path__.append(_root)
