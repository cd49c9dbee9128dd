"""Random streams against PyTorch's recorded numbers, an independent twister, and statistics."""

import math
import pickle

import numpy
import pytest

import flambeau as torch
from flambeau.runtime.random import Generator, Stream


def normals(stream, size, dtype="float32", mean=0.0, std=1.0):
    """A fill with normal numbers, drawn from `stream`."""
    generator = Generator()
    generator.stream = stream
    made = torch.empty(size, dtype=getattr(torch, dtype))
    return made.normal_(mean, std, generator=generator).numpy()


LADDER = numpy.linspace(0, 1, 9, dtype="f4")

# What PyTorch 2.13 gives after manual_seed(2024), and how many words it has then taken.
RECORDED = [
    (
        "uniform(5)",
        [
            0.5317158699035645,
            0.8312679529190063,
            0.9718379974365234,
            0.11930084228515625,
            0.16690224409103394,
        ],
        5,
    ),
    (
        'uniform(5, "f8", -1.0, 2.5)',
        [
            -0.11195437906414674,
            1.7114651611401754,
            0.17326382775438254,
            1.5197888019875592,
            2.075814702775794,
        ],
        10,
    ),
    (
        'uniform(5, "f2", 0.1, 0.7)',
        [0.4189453125, 0.5986328125, 0.68310546875, 0.171630859375, 0.2001953125],
        5,
    ),
    (
        "normals(stream, 5)",
        [
            -0.040429167449474335,
            1.7259920835494995,
            -0.8140387535095215,
            1.372166633605957,
            0.5059648156166077,
        ],
        12,
    ),
    (
        'normals(stream, 5, "float64", 1.0, 0.25)',
        [
            0.9898927081576466,
            1.4314980300574525,
            0.7964903089298083,
            1.3430416585452123,
            1.1264911968719482,
        ],
        12,
    ),
    (
        "normals(stream, 18)[12:]",
        [
            0.9961832761764526,
            0.9390771389007568,
            1.4147526025772095,
            0.6343358159065247,
            -0.07764512300491333,
            -1.1175426244735718,
        ],
        34,
    ),
    (
        'normals(stream, 18, "float16")[12:]',
        [1.658203125, -1.30859375, 0.99609375, 0.93896484375, 1.4150390625, 0.63427734375],
        32,
    ),
    (
        'normals(stream, 18, "float64")[12:]',
        [
            -0.9460103469053192,
            -1.027550524001919,
            1.698769938508277,
            0.5853117384352154,
            0.6893051953204657,
            0.2803185954074853,
        ],
        68,
    ),
    (
        "normal(18)[12:]",
        [
            0.6306062340736389,
            -1.4668296575546265,
            -0.6797558665275574,
            -0.6970294713973999,
            0.7893269062042236,
            -0.9312258362770081,
        ],
        36,
    ),
    (
        'normals(stream, 3, "complex64")',
        [
            (-0.028587738052010536 + 1.2204607725143433j),
            (-0.5756123065948486 + 0.9702683091163635j),
            (0.3577711284160614 - 0.3410640358924866j),
        ],
        12,
    ),
    ("integers(0, 10, 6)", [2, 0, 4, 0, 3, 0], 6),
    ("integers(-7, 1 << 40, 4)", [587298444577, 415407652083, 118498020103, 819874250609], 8),
    ("integers(0, (1 << 28) - 1, 3)", [109584017, 30723590, 49859179], 3),
    ("integers(0, 1 << 28, 3)", [30723578, 220105344, 140080676], 6),
    (
        "integers(-(1 << 63), None, 3)",
        [-7599790798471377414, -5550464023895569792, 3470791090525271588],
        6,
    ),
    ('integers(5, None, 4, "u1")', [102, 83, 194, 98], 4),
    (
        "random(4)",
        [1623581238383398394, 3672908012959206016, 3470791090525271588, 808125373620338871],
        8,
    ),
    ('random(4, "i1")', [8, 122, 96, 0], 4),
    ('random(4, "f4")', [8920562.0, 13946169.0, 16304558.0, 2001347.0], 4),
    ('random(4, "?")', [False, False, False, False], 4),
    ("permutation(10)", [2, 3, 0, 8, 7, 5, 1, 9, 4, 6], 9),
    ("permutation(3000)[:6]", [1112, 1395, 2286, 1433, 1439, 895], 503),
    ("bernoulli(0.3, 8)", [True, False, False, False, False, True, False, False], 16),
    ("bernoulli_like(LADDER)", [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 9),
    ('bernoulli_like(LADDER.astype("f8"))', [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], 18),
    (
        'exponential(4, "f4", 2.0)',
        [0.14633211493492126, 0.7451708316802979, 0.20414823293685913, 0.6363750696182251],
        8,
    ),
    ("geometric(0.3, 6)", [4.0, 1.0, 4.0, 1.0, 1.0, 5.0], 12),
    ('geometric(0.3, 6, "i8")', [4, 1, 4, 1, 1, 5], 12),
    (
        'cauchy(4, "f4", 0.5, 2.0)',
        [-1.453701138496399, 2.837299346923828, -0.6389632225036621, 2.1539053916931152],
        8,
    ),
    (
        'log_normal(4, "f4", 0.2, 0.3)',
        [1.2066781520843506, 2.0499136447906494, 0.9567514657974243, 1.843470573425293],
        8,
    ),
    ("multinomial(LADDER, 4)", [5, 8, 7, 6], 18),
    ("multinomial(LADDER, 6, True)", [4, 7, 5, 7, 8, 4], 12),
    ("multinomial(LADDER, 1, True)", [5], 18),
]


def twister(seed: int, count: int) -> list[int]:
    """mt19937 as Matsumoto and Nishimura give it, one word at a time."""
    state = [seed & 0xFFFFFFFF]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    words = []
    for i in range(count):
        if i % 624 == 0:
            for k in range(624):
                joined = (state[k] & 0x80000000) | (state[(k + 1) % 624] & 0x7FFFFFFF)
                twist = 0x9908B0DF if joined & 1 else 0
                state[k] = state[(k + 397) % 624] ^ (joined >> 1) ^ twist
        word = state[i % 624]
        word ^= word >> 11
        word ^= (word << 7) & 0x9D2C5680
        word ^= (word << 15) & 0xEFC60000
        words.append(word ^ (word >> 18))
    return words


def agree(drawn, expected):
    """Equal, but for the last places of float64, where C libraries differ."""
    places = 4 * numpy.finfo("f8").eps if drawn.dtype.kind in "fc" else 0
    numpy.testing.assert_allclose(drawn, expected, rtol=places, atol=places)


def words_taken(stream: Stream) -> int:
    return int(stream.get_state()[16:24].view("u8")[0])


@pytest.mark.parametrize(("call", "expected", "words"), RECORDED, ids=[row[0] for row in RECORDED])
def test_pytorchs_numbers(call, expected, words):
    stream = Stream(2024)
    names = {"stream": stream, "normals": normals, "LADDER": LADDER}
    drawn = eval(call if call.startswith("normals") else f"stream.{call}", names)
    agree(drawn, numpy.array(expected, drawn.dtype))
    assert words_taken(stream) == words


# After manual_seed: the first three and the last two elements in PyTorch 2.13.
FILLS = [
    (
        0,
        "randn(15)",
        [1.5409960746765137, -0.293428897857666, -2.1787893772125244],
        [1.1006041765213013, -1.0711873769760132],
    ),
    (
        0,
        "randn(16)",
        [-1.1258398294448853, -1.152360200881958, -0.2505785822868347],
        [1.1167771816253662, -0.2472781538963318],
    ),
    (
        1,
        "randn(17)",
        [-1.5255959033966064, -1.1607614755630493, 0.6995424032211304],
        [-0.13162320852279663, -0.7984398007392883],
    ),
    (
        1099511627783,
        "randn(100)",
        [-0.8201345205307007, 0.39563116431236267, 0.8989084959030151],
        [-1.223924160003662, 0.6402726173400879],
    ),
    (
        3,
        "empty(100).normal_(-2.5, 0.75)",
        [-2.557483196258545, -2.230088949203491, -3.086512565612793],
        [-1.9171562194824219, -2.1968464851379395],
    ),
    (
        4,
        "empty(5, 8).t().normal_(1, 3)",
        [-3.815828800201416, 3.5671467781066895, -2.8151659965515137],
        [2.4105722904205322, 6.372610092163086],
    ),
    (
        5,
        "empty(40, 2)[:, 0].normal_()",
        [-0.4867807626724243, -0.6038215756416321, -0.5580962300300598],
        [-0.3991796374320984, 1.2153481245040894],
    ),
    (
        6,
        "randn(4, 4, dtype=torch.complex64)",
        [
            (-0.8565216660499573 + 0.4457308053970337j),
            (-1.0403690338134766 - 0.9441282749176025j),
            (-0.34624677896499634 + 0.09315575659275055j),
        ],
        [
            (0.4108071029186249 + 0.25178664922714233j),
            (0.011346242390573025 + 0.28415563702583313j),
        ],
    ),
    (
        7,
        "randn(33, dtype=torch.float16)",
        [-0.8203125, 0.395751953125, 0.89892578125],
        [0.5009765625, 0.260009765625],
    ),
    (
        8,
        "randn(100, dtype=torch.float64)",
        [-1.6169353158353055, -0.029519948624010743, -0.33127432946174346],
        [1.1150803523163164, 0.5478451268751735],
    ),
    (
        9,
        "empty(2, 3, 4).permute(2, 0, 1).uniform_()",
        [0.6557844877243042, 0.9179643392562866, 0.3804395794868469],
        [0.6315556168556213, 0.7315022945404053],
    ),
    (
        10,
        "normal(torch.ones(20), torch.arange(20.0))",
        [1.0, 0.44443148374557495, -0.6533790826797485],
        [-7.991488456726074, 6.941422939300537],
    ),
    (
        11,
        "nn.init.trunc_normal_(torch.empty(20), 1, 2, 3, 5)",
        [3.607454776763916, 4.694711685180664, 3.956981658935547],
        [3.2113568782806396, 3.1947789192199707],
    ),
    (
        12,
        "nn.init.trunc_normal_(torch.empty(20), 0, 1, -0.9, 1)",
        [-0.13201288878917694, -0.1254376322031021, 0.3443123996257782],
        [0.8443742990493774, -0.7231959104537964],
    ),
]


@pytest.mark.parametrize(("seed", "call", "first", "last"), FILLS, ids=[row[1] for row in FILLS])
def test_pytorchs_fills(seed, call, first, last):
    torch.manual_seed(seed)
    drawn = eval(f"torch.{call}", {"torch": torch}).reshape(-1).numpy()
    agree(drawn[:3], numpy.array(first, drawn.dtype))
    agree(drawn[-2:], numpy.array(last, drawn.dtype))


@pytest.mark.parametrize("seed", [0, 5489, 2**40 + 7, 2**64 - 1])
def test_words_are_the_twisters(seed):
    stream = Stream(seed)
    drawn = [stream.words(n) for n in (1, 3, 0, 700, 5000)]
    assert numpy.concatenate(drawn).tolist() == twister(seed, 5704)


def test_the_standards_check_value():
    """ISO C++ [rand.predef]: the 10000th word of a default mt19937 is 4123659995."""
    assert Stream(5489).words(10000)[-1] == 4123659995


def test_pieces_of_a_draw_are_the_draw():
    """One long draw equals the same draw in pieces, for all that draws a fixed number of words."""
    cuts = (1, 5, 40000, 3000, 70000)
    for draw in (
        lambda s, n: s.uniform(n),
        lambda s, n: s.uniform(n, "f8", -3, 5),
        lambda s, n: s.integers(0, 1000, n),
        lambda s, n: s.bernoulli(0.2, n),
        lambda s, n: s.exponential(n),
        lambda s, n: s.normal(n),
    ):
        whole, pieces = Stream(3), Stream(3)
        joined = numpy.concatenate([draw(pieces, n) for n in cuts])
        assert (draw(whole, sum(cuts)) == joined).all()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000, 4097])
def test_a_permutation_exchanges_by_the_words(size):
    words, order = twister(6, size), list(range(size))
    for i in range(size - 1):
        j = i + words[i] % (size - i)
        order[i], order[j] = order[j], order[i]
    assert Stream(6).permutation(size).tolist() == order


def test_permutations_of_three_are_equally_likely():
    stream = Stream(1)
    drawn = [tuple(stream.permutation(3).tolist()) for _ in range(6000)]
    counts = [drawn.count(order) for order in set(drawn)]
    assert len(counts) == 6
    assert sum((c - 1000) ** 2 / 1000 for c in counts) < 20.5  # chi-square, 5 degrees, 0.1 %


def test_a_spare_normal_is_kept_between_calls_and_in_the_state():
    stream, whole = Stream(8), Stream(8)
    three = stream.normal(3, "f8")
    copy = Stream()
    copy.set_state(stream.get_state())
    assert words_taken(stream) == 8  # two pairs of two 64-bit uniforms
    expected = whole.normal(8, "f8")
    assert three.tolist() == expected[:3].tolist()
    assert stream.normal(5, "f8").tolist() == expected[3:].tolist()
    assert copy.normal(5, "f8").tolist() == expected[3:].tolist()
    stream.normal(1)
    stream.manual_seed(8)
    assert stream.normal(1, "f8").tolist() == expected[:1].tolist()


def test_state_layout():
    """The fields PyTorch reads: the seed, words left in the block, a flag, the place, the words."""
    stream = Stream(2**40 + 7)
    state = stream.get_state()
    assert (state.dtype, state.shape) == (numpy.uint8, (5056,))
    assert state[:8].view("u8") == 2**40 + 7
    assert state[8:16].view("i4").tolist() == [1, 1]
    assert state[16:24].view("u8") == 0
    assert state[24:32].view("u8") == 7
    stream.words(10)
    assert stream.get_state()[8:12].view("i4") == 615


@pytest.mark.parametrize("taken", [0, 1, 623, 624, 625, 2000])
def test_state_round_trip(taken):
    stream = Stream(11)
    stream.words(taken)
    state = stream.get_state()
    copy = Stream(99)
    copy.set_state(state)
    assert (copy.get_state() == state).all()
    assert copy.initial_seed == 11
    assert (copy.words(1000) == stream.words(1000)).all()
    revived = pickle.loads(pickle.dumps(stream))
    assert (revived.words(5) == stream.words(5)).all()


def test_a_bad_state_is_refused():
    stream = Stream()
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        stream.set_state(numpy.zeros(5056, "u1"))
    with pytest.raises(RuntimeError, match=r"size 5056 but found .* to be 7"):
        stream.set_state(numpy.zeros(7, "u1"))
    with pytest.raises(TypeError, match="RNG state must be a "):
        stream.set_state(numpy.zeros(5056))


@pytest.mark.parametrize(
    ("draw", "mean", "variance"),
    [
        (lambda s, n: s.uniform(n, "f4", -1, 3), 1, 16 / 12),
        (lambda s, n: normals(s, n, "float32", 2, 3), 2, 9),
        (lambda s, n: normals(s, n, "float64"), 0, 1),
        (lambda s, n: s.normal(n, "f8"), 0, 1),
        (lambda s, n: s.exponential(n, "f8", 0.5), 2, 4),
        (lambda s, n: s.geometric(0.25, n), 4, 12),
        (lambda s, n: s.log_normal(n, "f8", 0, 0.5), math.exp(1 / 8), 0.3646958),
        (lambda s, n: s.bernoulli(0.125, n), 0.125, 0.125 * 0.875),
        (lambda s, n: s.bernoulli_like(numpy.full(n, 0.125, "f4")), 0.125, 0.125 * 0.875),
        (lambda s, n: s.integers(-3, 8, n), 2, 10),
        (lambda s, n: s.multinomial(numpy.array([1.0, 0, 2, 1]), n, True), 1.75, 1.1875),
    ],
)
def test_moments(draw, mean, variance):
    """Mean and variance lie within five standard errors of the distribution's."""
    n = 200_000
    drawn = draw(Stream(77), n).astype("f8")
    assert abs(drawn.mean() - mean) < 5 * math.sqrt(variance / n)
    kurtosis = ((drawn - mean) ** 4).mean() / variance**2
    assert abs(drawn.var() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / n) + 1e-4


def test_cauchy_quartiles():
    drawn = Stream(5).cauchy(100_000, "f8", 2.0, 3.0)
    assert numpy.quantile(drawn, [0.25, 0.5, 0.75]) == pytest.approx([-1, 2, 5], abs=0.1)


def test_multinomial_without_replacement_takes_each_once_and_no_zero_weight():
    weights = numpy.array([[0.0, 1, 2, 3], [5, 0, 0.1, 1]])
    stream = Stream(4)
    for _ in range(200):
        first, second = stream.multinomial(weights, 3)
        assert sorted(first) == [1, 2, 3]
        assert sorted(second) == [0, 2, 3]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_uniforms_never_reach_the_upper_end(name):
    dtype = numpy.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)
    drawn = Stream(2).uniform(200_000, dtype, 0.1, 0.7).astype("f4")
    low, high = numpy.array([0.1, 0.7]).astype(dtype).astype("f4")
    assert low <= drawn.min()
    assert drawn.max() < high


def test_out_is_filled():
    out = numpy.zeros((4, 5), "f4")
    assert Stream(1).uniform(out=out) is out
    assert (out.reshape(-1) == Stream(1).uniform(20)).all()
    with pytest.raises(ValueError, match="contiguous"):
        Stream(1).uniform(out=numpy.zeros((4, 5), "f4").T)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        ("integers(5, 3)", RuntimeError, "'from' to be less than 'to', but got from=5 >= to=3"),
        ("integers(0, 300, 2, 'u1')", RuntimeError, "to - 1 is out of bounds for unsigned char"),
        ("integers(-1, 5, 2, 'u1')", RuntimeError, "from is out of bounds for unsigned char"),
        ("integers(0, 300000, 2, 'f2')", RuntimeError, "to - 1 is out of bounds for c10::Half"),
        ("uniform(2, 'f4', 5, 3)", RuntimeError, "but found from=5 > to=3"),
        ("uniform(2, 'f4', -3e38, 3e38)", RuntimeError, "numeric_limits<Float>::max.., but found"),
        ("uniform(2, 'i8')", NotImplementedError, "not implemented for 'Long'"),
        ("exponential(2, 'f4', 0)", RuntimeError, "lambda > 0.0, but found lambda=0"),
        ("exponential(2, 'i8')", RuntimeError, "must be a floating point but you specified Long"),
        ("cauchy(2, 'f4', 0, -1)", RuntimeError, "sigma > 0.0, but found sigma=-1"),
        ("log_normal(2, 'f4', 0, 0)", RuntimeError, "std > 0.0, but found std=0"),
        ("geometric(1.0, 2)", RuntimeError, "p to be in .0, 1., but got p=1"),
        ("bernoulli(1.5, 2)", RuntimeError, "p to be in .0, 1., but got p=1.5"),
        ("bernoulli_like(LADDER * 2)", RuntimeError, "Expected p_in >= 0 && p_in <= 1"),
        ("multinomial(LADDER, 10)", RuntimeError, "n_sample > prob_dist.size.-1. samples"),
        ("multinomial(LADDER, 0)", RuntimeError, "cannot sample n_sample <= 0 samples"),
        ("multinomial(LADDER * 0, 1)", RuntimeError, "sum of probabilities <= 0"),
        ("multinomial(-LADDER, 1)", RuntimeError, "contains either `inf`, `nan` or element < 0"),
        ("permutation(300, 'u1')", RuntimeError, "cannot be converted to type uint8_t"),
        ("permutation(3000, 'f2')", RuntimeError, "n cannot be greater than 2049 for Half type."),
        ("manual_seed(2**64)", ValueError, "Overflow when unpacking long long"),
    ],
)
def test_bad_arguments(call, error, text):
    stream = Stream()
    with pytest.raises(error, match=text):
        eval(f"stream.{call}", {"stream": stream, "LADDER": LADDER})


def test_bad_normals():
    with pytest.raises(RuntimeError, match=r"normal expects std >= 0\.0, but found std -1"):
        torch.empty(2).normal_(0, -1)
    with pytest.raises(
        NotImplementedError, match="\"normal_kernel_cpu\" not implemented for 'Long'"
    ):
        torch.zeros(2, dtype=torch.int64).normal_()


def test_floating_integers_outside_the_mantissa_warn():
    with pytest.warns(UserWarning, match="to - 1 is out of bounds"):
        Stream().integers(0, 2**25 + 1, 3, "f4")


def test_generator():
    generator = Generator()
    assert (generator.initial_seed(), str(generator.device)) == (67280421310721, "cpu")
    assert generator.manual_seed(-1) is generator
    assert generator.initial_seed() == 2**64 - 1
    copy = Generator().set_state(generator.get_state())
    assert (copy.stream.words(9) == generator.stream.words(9)).all()
    assert generator.seed() == generator.initial_seed() != generator.seed()
    with pytest.raises(RuntimeError, match="Device type cuda"):
        Generator("cuda")


MIXED = [
    ("torch.rand(n)", "stream.uniform(n)"),
    ("torch.empty(n, dtype=torch.float64).uniform_(-1, 2)", "stream.uniform(n, 'f8', -1, 2)"),
    ("torch.rand(n, dtype=torch.half)", "stream.uniform(n, 'f2')"),
    ("torch.randn(n)", "normals(stream, n)"),
    ("torch.empty(n).normal_(2, 0.5)", "normals(stream, n, 'float32', 2, 0.5)"),
    ("torch.randn(n, dtype=torch.float64)", "normals(stream, n, 'float64')"),
    ("torch.randn(n, dtype=torch.half)", "normals(stream, n, 'float16')"),
    ("torch.randn(n, dtype=torch.complex64)", "normals(stream, n, 'complex64')"),
    (
        "torch.randint(-5, 2**n.bit_length() + 1, (n,))",
        "stream.integers(-5, 2**n.bit_length() + 1, n)",
    ),
    ("torch.randint(0, 2**40, (n,))", "stream.integers(0, 2**40, n)"),
    ("torch.empty(n, dtype=torch.int16).random_()", "stream.random(n, 'i2')"),
    ("torch.randperm(n)", "stream.permutation(n)"),
    ("torch.empty(n).bernoulli_(0.3)", "stream.bernoulli(0.3, n, 'f4')"),
    (
        "torch.bernoulli(torch.linspace(0, 1, n))",
        "stream.bernoulli_like(torch.linspace(0, 1, n).numpy())",
    ),
    ("torch.dropout(torch.ones(n), 0.5, True)", "2 * stream.bernoulli(0.5, n, 'f4')"),
    ("torch.empty(n).exponential_(3)", "stream.exponential(n, 'f4', 3)"),
    ("torch.empty(n).geometric_(0.1)", "stream.geometric(0.1, n)"),
    ("torch.empty(n).cauchy_()", "stream.cauchy(n)"),
    ("torch.empty(n).log_normal_()", "stream.log_normal(n)"),
    (
        "torch.multinomial(torch.ones(3, n + 1), 2, True)",
        "stream.multinomial(numpy.ones((3, n + 1), 'f4'), 2, True)",
    ),
]


@pytest.mark.parity
@pytest.mark.parametrize("seed", [0, 1, -1, 2**40 + 7])
def test_a_mixed_program_sees_pytorchs_numbers(seed):
    reference = pytest.importorskip("torch")
    reference.manual_seed(seed)
    stream = Stream(seed)
    choose = numpy.random.default_rng(seed % 2**32)
    for _ in range(150):
        theirs, ours = MIXED[choose.integers(len(MIXED))]
        names = {"torch": reference, "stream": stream, "numpy": numpy, "normals": normals}
        names["n"] = int(choose.choice([0, 1, 2, 5, 15, 16, 17, 33, 100, 5000, 40000]))
        expected, drawn = eval(theirs, names).numpy(), eval(ours, names)
        numpy.testing.assert_array_equal(drawn, expected, theirs)
        state = reference.get_rng_state().numpy()
        numpy.testing.assert_array_equal(stream.get_state(), state, theirs)
        reference.set_rng_state(reference.from_numpy(stream.get_state()))


def test_masks_lie_as_pytorch_draws_them():
    # What PyTorch 2.13 gives: dropout's mask lies as its input, that of `bernoulli` row by row.
    dropped = (
        (torch.ones(1, 2, 2, 3).to(memory_format=torch.channels_last), "020202000222"),
        (torch.ones(3, 4).t(), "000002222022"),
    )
    for x, want in dropped:
        torch.manual_seed(0)
        assert "".join(str(int(v)) for v in torch.dropout(x, 0.5, True).flatten()) == want
    torch.manual_seed(0)
    drawn = torch.bernoulli(torch.ones(3, 4).t(), 0.5)
    assert "".join(str(int(v)) for v in drawn.flatten()) == "001000110111"
