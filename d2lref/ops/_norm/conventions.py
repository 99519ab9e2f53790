"""The normalisations: the eps of other frameworks."""

from d2lref.spec import Convention

FLAX = "https://flax.readthedocs.io/en/latest/api_reference/flax.nnx/nn/normalization.html"
KERAS = "https://keras.io/api/layers/normalization_layers"
ONNX = "https://onnx.ai/onnx/operators/onnx__RMSNormalization.html"


def _with_eps(name: str, source: str, eps: float) -> Convention:
    return Convention(name=name, says=f"eps is {eps:g}", source=source, defaults={"eps": eps})


_FLAX = _with_eps("flax", FLAX, 1e-6)  # eps: facts of the frameworks
LAYER = (_FLAX, _with_eps("keras", f"{KERAS}/layer_normalization", 1e-3))  # eps
GROUP = (_FLAX, _with_eps("keras", f"{KERAS}/group_normalization", 1e-3))  # eps
INSTANCE = (_FLAX,)
RMS = (_FLAX, _with_eps("keras", f"{KERAS}/rms_normalization", 1e-6), _with_eps("onnx", ONNX, 1e-5))  # eps
