# What the page uses of the browser's global names, which Pyodide offers as a module.
from typing import Any

def __getattr__(name: str) -> Any: ...
