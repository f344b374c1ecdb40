"""``python -m policybot`` is the command `policybot`."""

import sys

from .cli import main

sys.exit(main())
