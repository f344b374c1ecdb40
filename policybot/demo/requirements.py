"""What the demonstration needs beyond policybot itself, and where Synapse is found."""

import importlib.util
import os
import sys

_PYTHON_VARIABLE = "POLICYBOT_DEMO_SYNAPSE_PYTHON"


def synapse_python() -> str:
    """The Python interpreter that runs Synapse: ours, or the one a developer names."""
    return os.environ.get(_PYTHON_VARIABLE) or sys.executable


def what_is_missing() -> str | None:
    """One sentence that tells what is missing and how to install it; None if nothing is."""
    needed = ["cryptography"]
    if not os.environ.get(_PYTHON_VARIABLE):
        needed.append("synapse")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"The demonstration needs {' and '.join(missing)}: "
        "install it with `pip install 'policybot[demo]'`."
    )
