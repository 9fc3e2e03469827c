"""What is said of the data and of the order and spacing of visits."""

from mlmfast.catalogue.entry import Entry

ENTRIES = (
    Entry(
        "MLM101",
        "aliased columns of X",
        "AliasedWarning",
        "Columns of the fixed part depend linearly on earlier ones and were left out. Fitted "
        "values and the likelihood are those of the whole set; coefficients are those of the "
        "columns that remain.",
        "Look at fit.aliased. Leave out the terms that repeat others, or join levels of factors "
        "whose combinations have no rows. Ask for means and contrasts: those that the data do not "
        "determine are NaN and named.",
    ),
    Entry(
        "MLM102",
        "a zero read wrongly",
        "SuspectValueWarning",
        "A column of integers holds values between 0 and 1e-60. Readers of SAS transport files "
        "turn zeros into such numbers.",
        "Set them to 0, data.mask(data.abs() < 1e-60, 0), or read the file by pyreadstat.",
    ),
    Entry(
        "MLM103",
        "a singular relationship matrix",
        "RelationshipWarning",
        "The known matrix of a factor is positive semidefinite only: effects of some levels are "
        "functions of others'. The fit is valid.",
        "Check for a level that stands in the matrix twice, under two labels or as a twin.",
    ),
    Entry(
        "MLM104",
        "numbers and text among the levels of a factor",
        "SuspectValueWarning",
        "A categorical column has numbers and text among its levels. Readers of SPSS and Stata "
        "files make one of a numeric variable of which some values have labels; each number is "
        "then a level, where a slope may be meant.",
        "Read the numbers (convert_categoricals=False in pandas) and make the labelled ones "
        "missing; or make all levels text if a factor is meant.",
    ),
    Entry(
        "MLM201",
        "visits that are not equally spaced",
        "SpacingWarning",
        "A structure over steps of equal length (ar1, toep, ad, ...) was given times whose "
        "distances differ. They count in units of their greatest common step.",
        "Write factor(time) if the visits shall count one by one, use car1, sp_exp or sp_pow for "
        "the distances themselves, or declare every level by a categorical to keep what is done.",
    ),
    Entry(
        "MLM202",
        "levels that read as numbers at other steps",
        "SpacingWarning",
        "The levels of a factor of visits are numbers in text whose distances differ, and a "
        "structure over equal steps counts the levels one by one.",
        "Make the column numeric to count by value, or write factor(...) to say that levels are "
        "meant.",
    ),
    Entry(
        "MLM203",
        "visits in the order of the alphabet",
        "SpacingWarning",
        "A structure goes by the order of the visits, and text such as d10, d2 stands in the "
        "order of the alphabet, not of the numbers in it.",
        "Use numbers, or a categorical whose categories stand in the order of time.",
    ),
)
