"""pandera is loaded for Polars frames only; whoever needs pandas afterwards gets it."""

from __future__ import annotations

import subprocess
import sys

CHECK = """
import sys
import quantctl.contracts.frames.features
import pandera.polars as pa, polars as pl

class Prices(pa.DataFrameModel):
    close: float = pa.Field(gt=0, nullable=False)
    symbol: str = pa.Field(str_matches="^[A-Z]+$", unique=True)

good = pl.DataFrame({"close": [1.0, 2.0], "symbol": ["A", "B"]})
Prices.validate(good, lazy=True)
Prices.validate(good.lazy(), lazy=True).collect()
print(sorted({"pandas", "hypothesis"} & set(sys.modules)))
try:
    Prices.validate(pl.DataFrame({"close": [1.0, -2.0], "symbol": ["A", "b"]}), lazy=True)
except pa.errors.SchemaErrors as problem:
    print(len(problem.schema_errors))
import hypothesis, pandas
print(pandas.Series([1]).sum(), [f for f in sys.meta_path if type(f).__module__.startswith("quantctl")])
"""


def test_checks_load_no_pandas_and_hide_it_from_nobody_later() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "2", "1 []"]


def test_what_is_loaded_already_stays() -> None:
    code = "import pandas\nimport quantctl.contracts.frames.features\nprint(pandas.Series([1]).sum())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
