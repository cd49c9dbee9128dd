"""Short-time Fourier transforms: spectra of overlapping windows, and the signal back from them."""

from __future__ import annotations

import warnings

from .diagonals import pad
from .family.pointwise import type_name
from .fourier import NONE, ROOT, WHOLE, c2c, c2r, r2c
from .op import composite


def _refuse(name, self, settings, message):
    shown = ", ".join(f"{key}={_shown(value)}" for key, value in settings.items())
    kind, shape = type_name(self.dtype), list(self.layout.shape)
    raise RuntimeError(f"{name}(torch.{kind}Tensor{shape}, {shown}) : expected {message}")


def _shown(value):
    if hasattr(value, "layout"):
        return f"torch.{type_name(value.dtype)}Tensor{{{list(value.layout.shape)}}}"
    return int(value) if isinstance(value, bool) else value


def _centred(window, size):
    """The window, with zeros on both sides up to `size`."""
    missing = size - window.layout.shape[0]
    return pad(window, [missing // 2, missing - missing // 2]) if missing else window


def _warn(what):
    warnings.warn(
        f"A window was not provided. A rectangular window will be applied{what} To suppress this "
        "warning and use a rectangular window, explicitly set `window=torch.ones(n_fft, "
        "device=<device>)`.",
        stacklevel=4,
    )


@composite(
    "aten::stft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? "
    'window=None, bool center=True, str pad_mode="reflect", bool normalized=False, bool? '
    "onesided=None, bool? return_complex=None, bool? align_to_window=None) -> Tensor"
)
def stft(
    self, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided,
    return_complex, align_to_window,
):  # fmt: skip
    """The Fourier transforms of windows `hop_length` apart: [batch, frequency, time].

    `window` (ones) of `win_length` is padded to `n_fft`; `center` pads the signal, so that windows
    are centred on their times.
    """
    if center and align_to_window:
        raise RuntimeError("stft align_to_window should only be set when center = false.")
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    settings = dict(
        n_fft=n_fft, hop_length=hop, win_length=length, window=window, normalized=normalized,
        onesided=onesided, return_complex=return_complex, align_to_window=align_to_window,
    )  # fmt: skip
    if return_complex is None and self.layout.dtype.kind != "c":
        if window is None or window.layout.dtype.kind != "c":
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will "
                "further require that return_complex=True in a future PyTorch release."
            )
    if self.layout.dtype.kind not in "fc":
        _refuse("stft", self, settings, "a tensor of floating point or complex values")
    if not 1 <= self.layout.ndim <= 2:
        _refuse("stft", self, settings, "a 1D or 2D tensor")
    single = self.layout.ndim == 1
    x = self.unsqueeze(0) if single else self
    if center:
        x = pad(x, [n_fft // 2, n_fft // 2], pad_mode)
    elif align_to_window:
        x = pad(x, [-((n_fft - length) // 2), -((n_fft - length) // 2)])
    _check_lengths(self, settings, x.layout.shape[-1], n_fft, hop, length, window)
    frames = x.unfold(-1, n_fft, hop)
    if window is not None:
        frames = frames * _centred(window, n_fft)
    else:
        _warn(", which is known to cause spectral leakage.")
    whole = frames.layout.dtype.kind == "c"
    if whole and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    scaling = ROOT if normalized else NONE
    if whole or onesided is False:
        wide = frames if whole else frames.to(frames.layout.dtype.to_complex())
        out = c2c(wide, [2], scaling, True)
    else:
        out = r2c(frames, [2], scaling)
    out = out.transpose(1, 2)
    if single:
        out = out.squeeze(0)
    return out if return_complex or return_complex is None else out.view_as_real()


def _check_lengths(self, settings, available, n_fft, hop, length, window):
    if not 0 < n_fft <= available:
        _refuse("stft", self, settings, f"0 < n_fft <= {available}, but got n_fft={n_fft}")
    if hop <= 0:
        _refuse("stft", self, settings, f"hop_length > 0, but got hop_length={hop}")
    _check_window("stft", self, settings, n_fft, length, window)


def _check_window(name, self, settings, n_fft, length, window):
    if not 0 < length <= n_fft:
        _refuse(name, self, settings, f"0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and window.layout.shape != (length,):
        _refuse(
            name, self, settings,
            f"a 1D window tensor of size equal to win_length={length}, but got window with size "
            f"{list(window.layout.shape)}",
        )  # fmt: skip


def _overlapped(frames, hop):
    """The sum of frames [batch, time, size] laid `hop` apart."""
    batch, count, size = frames.layout.shape
    pieces = -(-size // hop)
    frames = pad(frames, [0, pieces * hop - size]).reshape(batch, count, pieces, hop)
    total = None
    for k in range(pieces):
        part = pad(frames.select(2, k), [0, 0, k, pieces - 1 - k])
        total = part if total is None else total + part
    return total.reshape(batch, -1).narrow(1, 0, (count - 1) * hop + size)


@composite(
    "aten::istft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? "
    "window=None, bool center=True, bool normalized=False, bool? onesided=None, int? length=None, "
    "bool return_complex=False) -> Tensor"
)
def istft(
    self, n_fft, hop_length, win_length, window, center, normalized, onesided, length,
    return_complex,
):  # fmt: skip
    """The signal whose `stft` comes nearest to `self`: overlapping windows added, over the sum of
    the squared windows (D. Griffin & J. Lim, IEEE Trans. ASSP 32, 1984).
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    size = n_fft if win_length is None else win_length
    settings = dict(
        n_fft=n_fft, hop_length=hop, win_length=size, window=window, center=center,
        normalized=normalized, onesided=onesided, length=length, return_complex=return_complex,
    )  # fmt: skip
    if onesided is None:
        onesided = self.layout.ndim < 2 or self.layout.shape[-2] != n_fft
    x = _spectra(self, settings, n_fft, hop, onesided, return_complex)
    _check_window("istft", self, settings, n_fft, size, window)
    if window is None:
        _warn(". Please provide the same window used by stft to make the inversion lossless.")
        window = x.real.new_ones(size)
    window = _centred(window, n_fft)
    scaling = ROOT if normalized else WHOLE
    if return_complex:
        frames = c2c(x.transpose(1, 2), [2], scaling, False)
    else:
        if window.layout.dtype.kind == "c":
            raise RuntimeError("Complex windows are incompatible with return_complex=False")
        half = x if onesided else x.narrow(1, 0, n_fft // 2 + 1)
        frames = c2r(half.transpose(1, 2), [2], scaling, n_fft)
    count = frames.layout.shape[1]
    signal = _overlapped(frames * window, hop)
    weight = _overlapped((window * window).expand(1, count, n_fft), hop)
    start = n_fft // 2 if center else 0
    whole = signal.layout.shape[1]
    end = start + length if length is not None else whole - (n_fft // 2 if center else 0)
    kept = max(min(end, whole) - start, 0)
    signal, weight = signal.narrow(1, start, kept), weight.narrow(1, start, kept)
    least = float(weight.abs().min()) if kept else 0.0
    if least <= 1e-11:
        _refuse_weight(self, settings, least)
    signal = signal / weight
    if end > whole:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded "
            "with zeros in the tail. Please check your center and hop_length settings.",
            stacklevel=3,
        )
        signal = pad(signal, [0, end - whole])
    return signal.squeeze(0) if self.layout.ndim == 2 else signal


def _refuse_weight(self, settings, least):
    try:
        _refuse("istft", self, settings, "")
    except RuntimeError as error:
        text = str(error).removesuffix(" : expected ")
        raise RuntimeError(f"{text} window overlap add min: {least:g}") from None


def _spectra(self, settings, n_fft, hop, onesided, return_complex):
    """The checked input as [batch, frequency, time]."""
    if self.layout.dtype.kind != "c":
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    if self.layout.numel == 0:
        _refuse("istft", self, settings, "a non-empty input tensor")
    if not 2 <= self.layout.ndim <= 3:
        _refuse("istft", self, settings, "a tensor with 2 or 3 dimensions")
    x = self.unsqueeze(0) if self.layout.ndim == 2 else self
    found = x.layout.shape[1]
    if onesided and not return_complex:
        if found != n_fft // 2 + 1:
            _refuse(
                "istft", self, settings,
                "the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 "
                f"+ 1 when onesided=True, but got {found}",
            )  # fmt: skip
    elif found != n_fft:
        _refuse(
            "istft", self, settings,
            "the frequency dimension (3rd to the last) of the input tensor to match n_fft when "
            f"onesided=False, but got {found}",
        )  # fmt: skip
    if not 0 < hop <= settings["win_length"]:
        _refuse("istft", self, settings, "0 < hop_length <= win_length")
    return x
