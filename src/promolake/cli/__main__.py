"""`python -m promolake.cli`, which is how the demo starts its parts."""

import sys

from promolake.cli import main

sys.exit(main())
