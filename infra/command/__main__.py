"""``python -m infra.command``, where the package is not installed."""

import sys

from infra.command.main import main

sys.exit(main())
