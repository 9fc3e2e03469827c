"""Studies, simulated responses and batches: the same bits for any number of threads and chunk."""

from ..threads import output_for_any_number_of_threads

STUDY = """
import hashlib, tempfile
import numpy as np
import mlmfast as mlm

def trial(condition, rng):
    g = np.repeat(np.arange(condition["n"]), 5)
    t = g % 2.0
    y = 0.5 * t + rng.normal(size=g.max() + 1)[g] + rng.normal(size=g.size)
    return {"y": y, "t": t, "g": g}

formula = "y ~ t + (1 | g)"
methods = {"KR": mlm.Method(formula, ddf="kenward-roger"), "S": mlm.Method(formula)}
for chunk in (7, 1000):
    study = mlm.Study(
        conditions={"n": [6, 11]}, generate=trial, methods=methods, estimands={"t": 0.5},
        n_replicates=23, seed=4, chunk=chunk,
    )
    found = study.run(tempfile.mkdtemp(), progress=False).replicates
    found = found.sort_values(["n", "replicate", "method"])
    numbers = found[["estimate", "std_error", "df", "p_value"]].to_numpy()
    assert np.isfinite(numbers).all()
    print(hashlib.sha1(numbers.tobytes()).hexdigest())
"""

SIMULATED = """
import hashlib
import numpy as np
import mlmfast as mlm

data = mlm.load_sleepstudy()
parents = {"id": sorted(set(data["Subject"])), "sire": [None] * 18, "dam": [None] * 18}
for k in range(6, 18):
    parents["sire"][k], parents["dam"][k] = parents["id"][k % 6], parents["id"][(5 * k) % k]
pedigree = mlm.pedigree(parents)
models = [
    ("Reaction ~ Days + (Days | Subject)", {}),
    ("Reaction ~ Days + (1 | Subject)", {"cov": {"Subject": pedigree}}),
    ("Reaction ~ Days", {"residual": "ar1(Days | Subject)"}),
]
for formula, arguments in models:
    model = mlm.LMM(formula, data, **arguments)
    responses = np.asarray(model.fit().simulate(13, seed=5))
    batch = model.fit_many(responses)
    parts = [responses, batch.params, batch.bse, batch.df, batch.llf]
    data["half"] = data["Subject"].astype(int) % 2
    each = mlm.fit_each(formula, data, by="half", **arguments)
    parts += [each.params, each.bse, each.df, each.llf]
    whole = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    print(hashlib.sha1(whole).hexdigest())
"""


def test_a_study_is_the_same_for_any_chunk_and_number_of_threads():
    first, second = output_for_any_number_of_threads(STUDY).split()
    assert first == second


def test_simulated_responses_and_their_fits_are_the_same_for_any_number_of_threads():
    assert len(output_for_any_number_of_threads(SIMULATED).split()) == 3
