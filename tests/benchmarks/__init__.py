"""Harnesses that measure time, memory, fidelity and ablations; what they found is in RESULTS.md. None is published.

python -m tests.benchmarks                 stages, devices, fidelity of the fast ways
python -m tests.benchmarks.training        a training step at full size
python -m tests.benchmarks.ablations       the paper's ablations at demo scale
python -m tests.benchmarks.editing         regions and transfers against heads whose parts are known
python -m tests.benchmarks.meshes          meshes; `splats` the same for splats
python -m tests.benchmarks.alignment       the alignment of labelled crops
"""
