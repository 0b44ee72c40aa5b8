"""What the track's board has to decide: whether several sets of embeddings beat one of the same size."""

from __future__ import annotations

from bench.contract import Claim, PaperEffect

#: The models that claims average over. IPNN is not among them: with several sets it does not read the raw
#: embeddings, so at a small base size it loses the first order by construction, whatever the sets are worth.
AVERAGED = ("dnn", "nfwfm", "xdeepfm", "dcnv2", "finalmlp")


def _rows(method: str) -> tuple[str, ...]:
    return tuple(f"{method}/{model}" for model in AVERAGED)


_PAPER = PaperEffect(
    value=0.00145,
    text="+.0015 AUC (mean of nine pairs in its tables, computed here: Criteo +.0012 over five models, Avazu"
    " +.0018 over four)",
    source="arXiv 2310.04400v1, Tables 1, 3 and 4, 10x; no NFwFM on Avazu; std of 3 runs up to .0005",
)

CLAIMS = (
    Claim(
        name="multi-embedding beats a single embedding of the same total size, at 10x",
        rows=_rows("multi"),
        over=_rows("single"),
        also=(_rows("single-wide"),),
        tasks=("*-10x",),
        paper=_PAPER,
    ),
    Claim(
        name="the same on generated data alone, where interactions are known to be there",
        rows=_rows("multi"),
        over=_rows("single"),
        tasks=("planted-10x",),
        of_paper=False,
    ),
)
