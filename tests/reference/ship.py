"""Write the reference fits that the package carries for `mlmfast validate`.

    python tests/reference/ship.py

Each is one of `fits/` without what is not compared there; tests say that they agree.
"""

import json
import shutil
from pathlib import Path

HERE = Path(__file__).parent
PLACE = HERE.parents[1] / "python" / "mlmfast" / "validation" / "references"

#: One or more of every family; small data.
NAMES = (
    "pastes_nested_reml", "alfalfa_splitplot_reml", "penicillin_ml", "penicillin_reml",
    "sleepstudy_slope_corr_ml", "sleepstudy_slope_corr_reml", "sleepstudy_slope_uncorr_reml",
    "sleepstudy_quadratic_reml", "ergostool_reml", "dyestuff_reml",
    "orthodont_intercept_sum_reml", "orthodont_noint_reml", "dyestuff2_reml",
    "sing_corr_one_a_reml", "sing_zero_inner_a_reml", "cake_rank_deficient_reml",
    "sim_weights_a_reml", "sim_offset_a_reml", "orthodont_us_reml", "orthodont_us_ml",
    "orthodont_cs_reml", "orthodont_csh_reml", "orthodont_ar1h_reml", "orthodont_toeph_reml",
    "orthodont_adh_reml", "orthodont_cs_by_sex_reml", "orthodont_diag_visit_reml",
    "orthodont_int_ar1_reml", "sleepstudy_slope_ar1_reml", "sleepstudy_int_car1_reml",
    "chick_sp_exp_reml", "fev_us_reml", "kr_npk_reml", "cr_sleepstudy_slope_reml",
    "cr_orthodont_int_reml", "lrt_sleepstudy_slope_ml", "lm_warpbreaks_reml", "lm_longley_reml",
    "exact_smls01_reml", "exact_smls04_reml", "exact_ill_mean1e6_reml",
)  # fmt: skip
COMPARED = (
    "loglik", "beta", "se", "sigma", "varcorr", "residual_cov", "ranef", "df_satterthwaite",
    "df_kr", "df_kr_linear", "df_kr_observed", "anova_type3", "lrt", "dropped", "vcov_cr0",
    "vcov_cr1", "vcov_cr2", "vcov_cr3",
)  # fmt: skip
KEPT = ("family", "data", "about", "formula", "formula_null", "residual", "weights", "contrasts",
        "method", "levels", "singular", "digits")  # fmt: skip


def shipped(name):
    """What the package holds of a reference."""
    case = json.loads((HERE / "fits" / f"{name}.json").read_text(encoding="utf-8"))
    source = case["source"]
    programs = ", ".join(f"{k} {v}" for k, v in source["packages"].items())
    where = f"R {source['R']}: " if "R" in source else ""
    return {
        **{key: case[key] for key in KEPT if key in case},
        "source": f"{where}{programs}; {source['call']}",
        "expect": {key: case["expect"][key] for key in COMPARED if key in case["expect"]},
    }


def text():
    """The file of all of them, one a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(shipped(name))}" for name in NAMES]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def tables():
    """Names of the tables that they need."""
    return sorted({shipped(name)["data"] for name in NAMES})


if __name__ == "__main__":
    (PLACE / "fits.json").write_text(text(), encoding="utf-8")
    for table in tables():
        shutil.copyfile(HERE / "data" / table, PLACE / table)
