"""interpolate: an image in another size, entries copied or averaged in straight lines; a room in reading order.

positions: where each entry of the answer lies in the image · interpolation: shape, definition, faster ways, derivative
· bounds: how wrong it may be · laws: cases, laws, refusals · mistakes · and here, all of it in one record.
"""

from typing import Any

from d2lref.ops._interpolate import bounds, interpolation, laws, mistakes, positions
from d2lref.spec import REQUIRED, SUMS, Convention, Op, Operand, Variant


def _from_the_centre(*, mode: str, **options: Any) -> dict[str, Any]:
    return {"mode": "nearest-exact" if mode == "nearest" else mode, **options}


TENSORFLOW = Convention(
    name="tensorflow",
    says="the nearest entry is the one that the centre of a pixel lies in, torch's 'nearest-exact'",
    source="tf.image.resize, tensorflow/python/ops/image_ops_impl.py, resize_images_v2: half_pixel_centers=True",
    means=_from_the_centre,
    without=("nearest copies the entry in which a pixel begins",),
)

interpolate = Op(
    name="interpolate",
    operands=(Operand("x", linear=True, batch=True),),
    options={"size": REQUIRED, "scale_factor": None, "mode": "nearest", "align_corners": None},
    shape=interpolation.shape,
    definition=interpolation.definition,
    variants={
        "passes": Variant(
            interpolation.by_passes, accepts=lambda _x, **options: options.get("mode") in positions.LINEAR
        ),
        "matmul": Variant(
            interpolation.by_matrices, accepts=lambda _x, **options: options.get("mode") in positions.LINEAR
        ),
    },
    vjp=interpolation.vjp,
    bound=bounds.bound,
    vjp_bound=bounds.vjp_bound,
    cases=laws.cases,
    regimes=(*SUMS, "large_mean"),
    gallery=laws.gallery(),
    laws=laws.LAWS,
    rejections=laws.REJECTIONS,
    mistakes=mistakes.MISTAKES,
    conventions=(TENSORFLOW,),
    source="torch.nn.functional.interpolate; Long, Shelhamer and Darrell 2015, Fully convolutional networks, 3.3",
)
