"""PyTorch's path to anomaly mode."""

from flambeau.tensor import anomaly as _made

detect_anomaly, set_detect_anomaly = _made.detect_anomaly, _made.set_detect_anomaly
__all__ = ["detect_anomaly", "set_detect_anomaly"]
