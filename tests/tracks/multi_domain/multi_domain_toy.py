"""Two domains that give the same inputs opposite labels, and a context to train in."""

from __future__ import annotations

import logging

import numpy as np

from bench.engine.context import RunContext, set_seed
from bench.tracks.common.pictures import Labelled
from bench.tracks.multi_domain.data import Arrays, MultiDomainData, Unlabelled
from bench.tracks.multi_domain.nets import bodies
from bench.tracks.multi_domain.settings import Recipe, Run

FIELDS = (2, 3, 4)


def table(sizes=(400, 400), *, steps=90, batch=32, opposite=True, seed=0, network=None, lr=2e-2):
    """Rows of three fields, the label the first one's value, turned round in every second domain."""
    random = np.random.default_rng(seed)

    def drawn(each):
        domain = np.repeat(np.arange(len(sizes)), each)
        x = np.stack([random.integers(0, c, len(domain)) for c in FIELDS], 1)
        y = x[:, 0] ^ (domain % 2 if opposite else 0)
        return Labelled(inputs=Arrays(x), y=y.astype(np.int64), domain=domain)

    train, val, test = drawn(sizes), drawn(50), drawn(60)
    recipe = Recipe(network="fields", batch=batch, steps=steps, lr=lr, head_lr=lr, hidden=(16, 8))
    data = MultiDomainData(
        dataset="toy", kind="table", domains=tuple(f"d{i}" for i in range(len(sizes))), classes=2,
        train=train, val=val, test=Unlabelled(test.inputs, test.domain), recipe=recipe,
        body=network or (lambda: bodies.table(FIELDS, dim=4, hidden=(16, 8), tower=(8,))),
    )  # fmt: skip
    return data, test.y


def images(sizes=(60, 60), *, steps=30, batch=16, seed=0, classes=3):
    """Grey pictures of 12 pixels with a bright bar in one of three places; its name depends on the domain."""
    random = np.random.default_rng(seed)

    def drawn(each):
        domain = np.repeat(np.arange(len(sizes)), each)
        place = random.integers(0, classes, len(domain))
        x = random.integers(0, 60, (len(domain), 12, 12, 1))
        for i, p in enumerate(place):
            x[i, 4 * p : 4 * p + 4] += 150
        return Labelled(inputs=Arrays(x.astype(np.uint8)), y=(place + domain) % classes, domain=domain)

    train, val, test = drawn(sizes), drawn(30), drawn(30)
    recipe = Recipe(network="cnn", batch=batch, steps=steps, lr=3e-3, head_lr=3e-3)
    data = MultiDomainData(
        dataset="bars", kind="images", domains=tuple(f"d{i}" for i in range(len(sizes))), classes=classes,
        train=train, val=val, test=Unlabelled(test.inputs, test.domain), recipe=recipe,
        body=lambda: bodies.digits(classes, width=16),
    )  # fmt: skip
    return data, test.y


def context(folder, *, seed=0, checkpoints=None):
    """A context as the engine gives it, random states set; ``scored`` keeps what snapshots were given."""
    set_seed(seed)
    scored = []
    ctx = RunContext(
        seed=seed, device="cpu", amp=False, workdir=folder, run=Run(), log=logging.getLogger("toy"),
        scorer=lambda answer, history: scored.append(answer) or _Score(), checkpoints=checkpoints,
    )  # fmt: skip
    return ctx, scored


class _Score:
    metrics = {"average": 0.5}


def accuracy(p, y, domain):
    """Of the likelier label, by domain."""
    chosen = p.argmax(1) if p.ndim == 2 else p > 0.5
    return np.array([(chosen[domain == d] == y[domain == d]).mean() for d in np.unique(domain)])
