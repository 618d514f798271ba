"""The data sets between the DAGs. A URI names the data set; the extras of its events name the version."""

from airflow.sdk import Asset


def _asset(name: str) -> Asset:
    return Asset(name=f"d2r_{name}", uri=f"d2r://{name.replace('_', '-')}", group="d2r")


# Raw data sets. No DAG writes them: the site that delivers images posts an event for them.
SOURCE_VINDR = _asset("source_vindr")
SOURCE_MIMIC = _asset("source_mimic")
SOURCE_IU_XRAY = _asset("source_iu_xray")
SOURCES = {"vindr": SOURCE_VINDR, "mimic": SOURCE_MIMIC, "iu-xray": SOURCE_IU_XRAY}

IMAGES = _asset("images")
ANNOTATOR_LESIONS = _asset("annotator_lesions")
REPORTS = _asset("reports")
DETECTOR = _asset("detector")
PSEUDO_LESIONS = _asset("pseudo_lesions")
REPORTER = _asset("reporter")
GENERATED_REPORTS = _asset("generated_reports")
METRICS = _asset("metrics")
PREVIEW = _asset("preview")
