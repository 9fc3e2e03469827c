"""Cmax of replicate bioequivalence studies, with what PROC MIXED gave for the FDA's model.

The numbers of Shumaker and Metzler (1998), Drug Information Journal 32:1063-72, appendix, and of
Patterson and Jones (2012), Pharmaceutical Statistics 11:1-7, table II, as collected by H. Schuetz
(R package replicateBE 1.1.3, data sets 05 and 04), who quotes the results published there.
"""

import pandas as pd

#: 26 subjects in order; A for TRRT, B for RTTR, then Cmax by period.
_PHENYTOIN = """
B 1.63 1.55 2.2 2.09|B 2.26 2.5 1.98 2.41|A 1.5 1.72 1.37 1.52|A 2.64 2.42 2.2 2.33
B 1.97 2.3 2.28 1.88|A 1.62 1.91 1.69 2.15|A 2.83 3.23 2.6 3.38|B 1.85 2.87 2.18 2.31
B 2.17 1.81 1.91 2.22|A 1.74 1.66 2.23 2.17|A 2.3 2.25 2.6 2.53|B 1.99 2.35 2.31 1.73
A 1.92 2.01 1.84 2.06|B 1.81 2.23 1.98 2.15|B 1.57 1.56 1.55 1.8|A 2.1 2.58 2.32 2.37
B 1.39 1.52 1.58 1.33|A 2.22 2.11 1.79 2.81|B 2.52 2.71 2.47 1.9|B 1.94 2.15 2.34 1.74
A 2.27 1.96 1.88 2.03|A 2.24 2.26 1.79 2.53|A 1.67 1.62 2.05 2.48|B 1.55 2.09 1.87 1.75
B 1.73 1.55 2.13 1.52|A 1.76 1.73 1.45 1.6
"""
#: 51 subjects; 1 for RRT, 2 for RTR, 3 for TRR, then Cmax by period.
_PARTIAL = """
1 32.53 118.65 156.33|1 21.96 22.26 54.16|1 110.87 50.06 84.6|1 50.08 181.53 144.26
1 87.21 90.07 132.92|1 18.07 21.48 20.87|1 18.69 17.06 32.01|1 52.59 48.58 47.24
1 29.3 21.72 49.27|1 22.14 9.38 16.3|1 27.02 20.35 121.92|1 60.94 26.17 98.08
1 164.01 25.21 97.02|1 59.7 102.47 40|1 39.96 42.11 38.75|1 18.34 21.5 9.57|1 9.1 12.74 18.33
2 99.85 204.09 170.94|2 50.48 35.15 55.71|2 43.86 168.78 61.04|2 40.05 25.17 24.48
2 28.76 24.83 9.27|2 79.04 127.92 81.8|2 158.86 148.97 82.41|2 87.84 64.57 58.01
2 34.35 52.26 142.92|2 37.07 80.9 33.62|2 18.94 161.34 118.89|2 43.15 27.71 13.11
2 28.35 98.5 78.22|2 174.94 117.31 52.18|2 19.18 94.92 21.39|2 66.63 134.69 78.1
2 70.06 32.15 43.11|3 9.34 11.74 18.42|3 38.02 16.79 83.82|3 199.07 52.14 72.04
3 74.24 35.76 36.28|3 31.85 74.88 19.18|3 30.86 70.84 65.25|3 86.01 41.85 79.81
3 38.27 40.31 20.64|3 49.81 66.64 25.94|3 34.56 16.37 29.58|3 136 33.75 35.03
3 64.55 34.04 41.67|3 26.35 37.2 24.6|3 118.91 49.27 35.86|3 30.55 63.9 40.75
3 42.2 106.69 115.15|3 39.15 13.79 62.32
"""


def _rows(text, sequences):
    rows = []
    for k, subject in enumerate(text.strip().replace("\n", "|").split("|")):
        word, *values = subject.split()
        sequence = sequences[word]
        for period, (treatment, value) in enumerate(zip(sequence, values, strict=True), 1):
            rows.append((f"s{k:02d}", str(period), sequence, treatment, float(value)))
    return pd.DataFrame(rows, columns=["subj", "per", "seq", "trt", "cmax"])


def phenytoin():
    """26 subjects of four periods: ratio 107.90 %, 90 % interval 103.66 to 112.2 %."""
    return _rows(_PHENYTOIN, {"A": "TRRT", "B": "RTTR"})


def partial_replicate():
    """51 subjects of three periods: ratio 137 %, 90 % interval 119 to 159 %, CV of R 61 %."""
    return _rows(_PARTIAL, {"1": "RRT", "2": "RTR", "3": "TRR"})
