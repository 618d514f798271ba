"""The data sets between the DAGs. A URI names the thing for good; which version it is, its events say in their extras."""

from airflow.sdk import Asset


def _asset(name: str) -> Asset:
    return Asset(name=f"d2r_{name}", uri=f"d2r://{name.replace('_', '-')}", group="d2r")


# Raw data sets. Nothing here writes them: whoever delivers films posts an event for them.
SOURCE_VINDR = _asset("source_vindr")
SOURCE_MIMIC = _asset("source_mimic")
SOURCE_IU_XRAY = _asset("source_iu_xray")
SOURCES = {"vindr": SOURCE_VINDR, "mimic": SOURCE_MIMIC, "iu-xray": SOURCE_IU_XRAY}

IMAGES = _asset("images")
READER_LESIONS = _asset("reader_lesions")
REPORTS = _asset("reports")
DETECTOR = _asset("detector")
PSEUDO_LESIONS = _asset("pseudo_lesions")
REPORTER = _asset("reporter")
GENERATED_REPORTS = _asset("generated_reports")
METRICS = _asset("metrics")
PREVIEW = _asset("preview")
