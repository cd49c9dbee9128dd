"""The functions that distributions are written in, beside the methods of tensors."""

from flambeau.tensor import PUBLIC, door_of, function_of, public

arange, as_tensor, broadcast_shapes, broadcast_tensors, empty, eye, finfo = (
    PUBLIC[name]
    for name in "arange as_tensor broadcast_shapes broadcast_tensors empty eye finfo".split()
)
full_like, get_default_dtype, normal, ones_like, rand, randn = (
    PUBLIC[name] for name in "full_like get_default_dtype normal ones_like rand randn".split()
)
tensor, tril_indices, zeros_like = (
    PUBLIC[name] for name in "tensor tril_indices zeros_like".split()
)
binomial, cat, cholesky_inverse, poisson, stack = map(
    function_of, "binomial cat cholesky_inverse poisson stack".split()
)
sample_dirichlet, standard_gamma = map(function_of, ("_sample_dirichlet", "_standard_gamma"))
one_hot, pad, softplus, logsigmoid = (
    door_of(f"nn.{name}") for name in "one_hot pad softplus logsigmoid".split()
)
cholesky, cholesky_ex, eigvalsh, solve_triangular = map(
    public("linalg"), "cholesky cholesky_ex eigvalsh solve_triangular".split()
)
gammainc, gammaincc, i0e, i1e, ndtr, ndtri, xlog1py = map(
    public("special"), "gammainc gammaincc i0e i1e ndtr ndtri xlog1py".split()
)
log_poisson, digamma_rest = map(door_of, ("special._log_poisson", "special._digamma_rest"))
