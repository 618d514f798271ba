"""What Airflow shows under its providers."""

from importlib.metadata import version
from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Name and version of this package, as `airflow providers list` reads them."""
    return {
        "package-name": "d2r-airflow",
        "name": "D2R",
        "description": "DAGs, operator and launchers around the d2r command.",
        "versions": [version("d2r-airflow")],
    }
