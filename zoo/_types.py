"""Names of types that signatures share."""

from typing import Any, TypeAlias

# NumPy arrays, and tensors of any backend: Keras has no type for both.
Array: TypeAlias = Any
