"""Time the reference's implementations beside torch's, as interleaved pairs with confidence intervals.

    python -m pytest benchmarks -m quick --versus-seconds=2 --benchmark-json=run.json --versus-log=run.jsonl
    python -m pytest benchmarks --benchmark-json=run.json --versus-log=run.jsonl

The first is the quick selection (about a minute and a half on two cores), the second everything. Close other programs,
do not use pytest-xdist, and set PYTHONHASHSEED=0. For figures worth publishing run five processes and merge them
(`pairing.merge`). All options of pytest-benchmark (>=5, <6) keep their meaning; `records` documents what is written.

`pairing` holds the clocks, the schedule and the statistics; `versus` judges the outputs, times the arms and hands them
to pytest-benchmark; `machine` pins and describes the computer; `workloads` is the table of layers; `contenders` turns
one of its rows into arms.
"""
