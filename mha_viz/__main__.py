"""The program as `python -m mha_viz`."""

from mha_viz.cli import main

raise SystemExit(main())
