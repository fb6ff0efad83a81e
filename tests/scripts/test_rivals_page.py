"""The tables of docs/rivals.md are those that follow from its csv files."""

import numpy as np
import scipy.stats

from scripts.studies import rivals_page
from tests.conftest import ROOT

RESULTS = ROOT / "scripts" / "studies" / "results"


def test_the_page_has_the_tables_of_its_csv_files(tmp_path, capsys):
    page = tmp_path / "rivals.md"
    text = (ROOT / "docs" / "rivals.md").read_text(encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    assert rivals_page.main([str(RESULTS), "--page", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == text
    for file, _ in rivals_page.TABLES.values():
        assert (RESULTS / file).stat().st_size < 1_000_000
    assert rivals_page.main([str(RESULTS)]) == 0
    assert capsys.readouterr().out.count("`lp_coverage` minus it") > len(rivals_page.IMAGES)


def test_paired_interval_and_p():
    rng = np.random.default_rng(0)
    ours, other = rng.normal(1, 1, 12), rng.normal(0, 1, 12)
    interval, p = rivals_page.difference_interval(ours - other)
    expected = scipy.stats.ttest_rel(ours, other)
    low, high = expected.confidence_interval(0.95)
    mean = (ours - other).mean()
    minus = rivals_page.MINUS
    assert interval == f"{mean:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", minus)
    assert p == ("< 0.001" if expected.pvalue < 0.001 else f"{expected.pvalue:.3f}")
    assert rivals_page.difference_interval(np.zeros(3)) == ("+0.0 (+0.0 to +0.0)", "1.000")
