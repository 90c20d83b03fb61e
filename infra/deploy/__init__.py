"""A stage on AWS: made and updated (``deployment``), removed (``destroy``); ``python -m infra.deploy`` is the command line."""
