"""The table of an architecture against the paper's."""

from search_spaces import catalog
from search_spaces.stage_table import stage_rows


def test_stage_rows_of_the_published_v2_s() -> None:
    """arXiv:2104.00298, Table 4, at 300 pixels."""
    rows = stage_rows(catalog.get("efficientnetv2-s").architecture)
    table = [(row.block, row.stride, row.channels, row.layers, row.size) for row in rows]
    assert table == [
        ("Conv k3", 2, 24, 1, 150),
        ("Fused-MBConv1 k3", 1, 24, 2, 150),
        ("Fused-MBConv4 k3", 2, 48, 4, 75),
        ("Fused-MBConv4 k3", 2, 64, 4, 38),
        ("MBConv4 k3", 2, 128, 6, 19),
        ("MBConv6 k3", 1, 160, 9, 19),
        ("MBConv6 k3", 2, 256, 15, 10),
        ("Conv k1", 1, 1280, 1, 10),
    ]
    assert [row.se_ratio for row in rows] == [0, 0, 0, 0, 0.25, 0.25, 0.25, 0]
