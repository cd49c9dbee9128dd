"""Windows as columns and back, and rearrangements between channels and space."""

import math

from .convolution import both_sides, crop, fold_windows, output_size, windows, zero_pad
from .family import fixed
from .views import channels_kept


def _pairs(**values):
    pairs = [v * 2 if len(v) == 1 else v for v in values.values()]
    for name, pair in zip(values, pairs, strict=True):
        if len(pair) != 2:
            raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(pair)}")
    return pairs


def _check_geometry(kernel, dilation, padding, stride):
    for values, what, least in (
        (kernel, "kernel size", 1),
        (dilation, "dilation", 1),
        (stride, "stride", 1),
    ):
        if any(v < least for v in values):
            raise RuntimeError(
                f"{what} should be greater than zero, but got "
                f"{' '.join(f'{n}: {v}' for n, v in _named(what, values))}"
            )
    if any(p < 0 for p in padding):
        raise RuntimeError(
            f"padding should be non-negative, but got pad_height: {padding[0]} pad_width: "
            f"{padding[1]}"
        )


def _named(what, values):
    word = what.replace(" size", "")
    return zip((f"{word}_height", f"{word}_width"), values, strict=True)


def _blocks(spatial, kernel, dilation, padding, stride):
    return tuple(
        output_size(n, k, s, (p, p), d)
        for n, k, d, p, s in zip(spatial, kernel, dilation, padding, stride, strict=True)
    )


@fixed(
    "nn::im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) "
    "-> Tensor",
    grad=dict(
        self=lambda grad, self_layout, kernel_size, dilation, padding, stride: col2im(
            grad, self_layout.shape[-2:], kernel_size, dilation, padding, stride
        )
    ),
)
def im2col(self, kernel_size, dilation, padding, stride):
    """The windows of [N, C, H, W] as columns: [N, C * window, number of windows]; without N
    alike.
    """
    kernel, dilation, padding, stride = _pairs(
        kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride
    )
    _check_geometry(kernel, dilation, padding, stride)
    shape = self.layout.shape
    if self.layout.ndim not in (3, 4) or 0 in shape[-3:]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: [{', '.join(map(str, shape))}]"
        )
    out = _blocks(shape[-2:], kernel, dilation, padding, stride)
    if min(out) < 1:
        raise RuntimeError(
            f"Given input with spatial size ({shape[-2]}, {shape[-1]}), kernel_size=({kernel[0]}, "
            f"{kernel[1]}), dilation=({dilation[0]}, {dilation[1]}), padding=({padding[0]}, "
            f"{padding[1]}), calculated shape of the array of sliding blocks as ({out[0]}, "
            f"{out[1]}), but its components must be at least one."
        )
    x = self if self.layout.ndim == 4 else self.unsqueeze(0)
    if any(padding):
        x = zero_pad(x, both_sides(padding))
    elif not x.layout.contiguous:
        x = x.contiguous()
    rows = x.layout.shape[1] * math.prod(kernel)
    columns = windows(x, kernel, stride, dilation, out).reshape(
        (x.layout.shape[0], rows, math.prod(out))
    )
    columns = columns.clone() if columns._storage is self._storage else columns
    return columns if self.layout.ndim == 4 else columns.squeeze(0)


@fixed(
    "nn::col2im(Tensor self, int[2] output_size, int[2] kernel_size, int[2] dilation, int[2] "
    "padding, int[2] stride) -> Tensor",
    grad=dict(
        self=lambda grad, kernel_size, dilation, padding, stride: im2col(
            grad, kernel_size, dilation, padding, stride
        )
    ),
)
def col2im(self, output_size, kernel_size, dilation, padding, stride):
    """Columns [N, C * window, L] added up to the image [N, C, *output_size] whose windows they
    are.
    """
    output_size, kernel, dilation, padding, stride = _pairs(
        output_size=output_size,
        kernel_size=kernel_size,
        dilation=dilation,
        padding=padding,
        stride=stride,
    )
    _check_geometry(kernel, dilation, padding, stride)
    shape = self.layout.shape
    if self.layout.ndim not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: [{', '.join(map(str, shape))}]"
        )
    count = math.prod(kernel)
    if shape[-2] % count:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={shape[-2]} and kernel_size=({kernel[0]}, {kernel[1]})."
        )
    out = _blocks(output_size, kernel, dilation, padding, stride)
    if math.prod(out) != shape[-1] or min(out) < 1:
        raise RuntimeError(
            f"Given output_size=({output_size[0]}, {output_size[1]}), kernel_size=({kernel[0]}, "
            f"{kernel[1]}), dilation=({dilation[0]}, {dilation[1]}), padding=({padding[0]}, "
            f"{padding[1]}), stride=({stride[0]}, {stride[1]}), expected size of input's dimension "
            f"2 to match the calculated number of sliding blocks {out[0]} * {out[1]} = "
            f"{math.prod(out)}, but got input.size(2)={shape[-1]}."
        )
    x = self if self.layout.ndim == 3 else self.unsqueeze(0)
    n, c = x.layout.shape[0], shape[-2] // count
    padded = (n, c, *(size + 2 * p for size, p in zip(output_size, padding, strict=True)))
    image = fold_windows(x.reshape((n, c, *kernel, *out)), padded, stride, dilation)
    if any(padding):
        image = crop(image, both_sides(padding), (n, c, *output_size)).contiguous()
    return image if self.layout.ndim == 3 else image.squeeze(0)


@fixed("aten::pixel_shuffle(Tensor self, int upscale_factor) -> Tensor", method=False)
def pixel_shuffle(self, upscale_factor):
    """[…, C * r * r, H, W] as […, C, H * r, W * r]."""
    r, shape = upscale_factor, self.layout.shape
    if len(shape) < 3:
        raise RuntimeError(
            "pixel_shuffle expects input to have at least 3 dimensions, but got input with "
            f"{len(shape)} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    n = len(lead)
    split = self.reshape((*lead, c // (r * r), r, r, h, w))
    moved = split.permute((*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return moved.clone().reshape((*lead, c // (r * r), h * r, w * r))


@fixed("aten::pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor", method=False)
def pixel_unshuffle(self, downscale_factor):
    """[…, C, H * r, W * r] as […, C * r * r, H, W]: the inverse of `pixel_shuffle`."""
    r, shape = downscale_factor, self.layout.shape
    if len(shape) < 3:
        raise RuntimeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
            f"{len(shape)} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = shape
    for size, what, place in ((h, "height", -2), (w, "width", -1)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but "
                f"input.size({place})={size} is not divisible by {r}"
            )
    n = len(lead)
    split = self.reshape((*lead, c, h // r, r, w // r, r))
    moved = split.permute((*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return channels_kept(moved.clone().reshape((*lead, c * r * r, h // r, w // r)), self)


def _channel_shuffle(self, groups):
    shape = self.layout.shape
    if len(shape) <= 2:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if shape[1] % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {shape[1]} channels and {groups} "
            "groups."
        )
    split = self.reshape((shape[0], groups, shape[1] // groups, *shape[2:]))
    return channels_kept(split.transpose(1, 2).clone().reshape(shape), self)


@fixed("aten::channel_shuffle(Tensor self, int groups) -> Tensor", method=False)
def channel_shuffle(self, groups):
    """The channels of [N, C, …], seen as `groups` rows, read by columns."""
    return _channel_shuffle(self, groups)


@fixed("aten::native_channel_shuffle(Tensor self, int groups) -> Tensor", method=False)
def native_channel_shuffle(self, groups):
    """The same as `channel_shuffle`."""
    return _channel_shuffle(self, groups)
