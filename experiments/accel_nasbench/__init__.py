"""An offline test bed for samplers: 5,125 architectures that others trained on ImageNet, and surrogates of them.

The figures are those of Accel-NASBench (afzalxo/Accel-NASBench 4260357, Apache-2.0).
"""
