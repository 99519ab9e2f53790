"""The main job, and the page that it writes: who agrees with the mathematics, and who is how fast.

    python -m reports                        judge, time, and write reports/latest/
    python -m reports html RECORDS           write the page again, from records alone
    python -m reports summary RECORDS        print the same as Markdown

Two halves that meet only in files. The first measures: `run` leads the job, `judging` judges one implementation of one
op (in the processes of `workers`), `timing` runs the quick benchmarks (with `outcomes` as their observer), `progress`
tells how far it is. Whatever is measured is in `records` at once. The second half reads records and nothing else:
`results` makes one JSON document of them, `verdict` its first sentence, and `page` renders it with `charts` and the
templates. No module of the second half imports what was judged.
"""
