"""Polars and DuckDB read every table of a lake by scanning its folder."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).parent


class LakeScan(unittest.TestCase):
    def test_every_table_scans_in_polars_and_duckdb(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [os.environ["D2R"], "pipeline", "--preset", "tiny", "--out", "demo", "--quiet"]
            subprocess.run(command, cwd=folder, check=True)
            lake = Path(folder, "demo", "lake")
            scanned = subprocess.run(
                [sys.executable, HERE / "lake_scan.py", lake], capture_output=True, text=True, check=False
            )
            self.assertEqual(scanned.returncode, 0, scanned.stdout + scanned.stderr)
            for table in ("images", "lesions", "reports", "generated_reports", "sentence_boxes", "metrics", "failures"):
                self.assertIn(table, scanned.stdout)


if __name__ == "__main__":
    unittest.main()
