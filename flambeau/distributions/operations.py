"""The functions that distributions are written in, beside the methods of tensors."""

from flambeau.tensor import PUBLIC, door_of, function_of, public

arange, as_tensor, broadcast_shapes, broadcast_tensors = (
    PUBLIC[name] for name in ("arange", "as_tensor", "broadcast_shapes", "broadcast_tensors")
)
eye, finfo, full_like, get_default_dtype, normal, ones_like, rand, randn, tensor = (
    PUBLIC[name]
    for name in (
        "eye",
        "finfo",
        "full_like",
        "get_default_dtype",
        "normal",
        "ones_like",
        "rand",
        "randn",
        "tensor",
    )
)
tril_indices, zeros_like = PUBLIC["tril_indices"], PUBLIC["zeros_like"]
cat, cholesky_inverse, poisson, stack, where = map(
    function_of, ("cat", "cholesky_inverse", "poisson", "stack", "where")
)
binomial, sample_dirichlet, standard_gamma = map(
    function_of, ("binomial", "_sample_dirichlet", "_standard_gamma")
)
one_hot, pad, softplus, logsigmoid, cross_entropy = (
    door_of(f"nn.{name}")
    for name in ("one_hot", "pad", "softplus", "logsigmoid", "binary_cross_entropy_with_logits")
)
cholesky, cholesky_ex, eigvalsh, solve_triangular = map(
    public("linalg"), ("cholesky", "cholesky_ex", "eigvalsh", "solve_triangular")
)
gammainc, gammaincc, i0e, i1e, ndtr, ndtri, xlog1py = map(
    public("special"), ("gammainc", "gammaincc", "i0e", "i1e", "ndtr", "ndtri", "xlog1py")
)
