"""Airflow around the `d2r` command: one operator, its launchers, the assets, and what all DAGs share."""
