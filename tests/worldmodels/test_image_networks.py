"""Image encoders and decoders: shapes, sizes, bad input, and PyTorch as the reference."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from worldmodels.decoders import DECODERS, nearest
from worldmodels.encoders import IMAGE_ENCODERS
from worldmodels.published import tensors as published_tensors

NAMES = IMAGE_ENCODERS.names()


def images(size, batch=(2,), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*batch, size, size, 3)).astype(np.uint8)


def encoder(name="dreamer_resnet", size=32, **options):
    return IMAGE_ENCODERS.make((size, size), name=name, rngs=nnx.Rngs(0), width=2, **options)


def decoder(name="dreamer_resnet", size=32, **options):
    return DECODERS.make(5, (size, size), name=name, rngs=nnx.Rngs(0), width=2, **options)


@pytest.mark.parametrize(
    ("name", "size", "embed_size"),
    [
        ("cnn_ha", 64, 64),
        ("cnn_ha", 32, 64),
        ("dreamer_resnet", 64, 4 * 4 * 16),
        ("dreamer_resnet", 32, 4 * 4 * 8),
    ],
)
def test_images_become_embeddings_and_features_become_images(name, size, embed_size):
    net = encoder(name, size)
    assert net.out_size == embed_size
    assert jax.eval_shape(lambda x: net(x), images(size, (2, 3))).shape == (2, 3, embed_size)
    drawn = jax.eval_shape(lambda f: decoder(name, size)(f).mean(), jnp.zeros((2, 3, 5)))
    assert (drawn.shape, drawn.dtype) == ((2, 3, size, size, 3), jnp.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_gets_a_gradient(name):
    def loss(nets):
        features = nets[0](images(16)).reshape(2, -1)[:, :5]
        return -nets[1](features).log_prob(jnp.asarray(images(16, seed=1)) / 255.0).sum()

    options = dict(blocks=1) if name == "dreamer_resnet" else {}
    grads = jax.jit(jax.grad(loss))((encoder(name, 16, **options), decoder(name, 16, **options)))
    kernels = [g for p, g in jax.tree_util.tree_flatten_with_path(grads)[0] if "kernel" in str(p)]
    assert len(kernels) >= 9 and all(np.any(np.asarray(g) != 0) for g in kernels)


def torch_block(torch, width):
    layers = []
    for _ in range(2):
        norm, conv = torch.nn.InstanceNorm2d(width, affine=True), torch.nn.Conv2d(width, width, 3, padding=1)
        layers += [norm, torch.nn.SiLU(), conv]
    block = torch.nn.Module()
    block.net = torch.nn.Sequential(*layers)
    block.forward = lambda x: x + block.net(x)
    return block


def torch_encoder(torch, widths, blocks):
    """The published order of layers: convolution, norm, SiLU, blocks; a last SiLU after blocks."""
    layers, before = [], 3
    for width in widths:
        layers += [torch.nn.Conv2d(before, width, 4, stride=2, padding=1)]
        layers += [torch.nn.InstanceNorm2d(width, affine=True), torch.nn.SiLU()]
        layers += [torch_block(torch, width) for _ in range(blocks)]
        before = width
    return torch.nn.Sequential(*layers, *([torch.nn.SiLU()] if blocks else []))


def torch_decoder(torch, widths, blocks, in_size, minres):
    """Linear, reshape; per stage blocks and a transposed convolution, norm and SiLU but after the last."""
    layers = [torch.nn.Linear(in_size, minres**2 * widths[0])]
    layers += [torch.nn.Unflatten(-1, (widths[0], minres, minres))]
    for width, after in zip(widths, [*widths[1:], None], strict=True):
        layers += [torch_block(torch, width) for _ in range(blocks)]
        layers += [torch.nn.ConvTranspose2d(width, after or 3, 4, stride=2, padding=1)]
        layers += [torch.nn.InstanceNorm2d(after), torch.nn.SiLU()] if after else []
    return torch.nn.Sequential(*layers)


def copy_weights(torch, reference, module, names):
    """Perturbs the reference, so that no scale is 1, and copies its weights into our module."""
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    tensors = {f"net.{name}": value.numpy() for name, value in reference.state_dict().items()}
    published_tensors.fill(module, tensors, names, pathlib.Path("reference"))


@pytest.mark.parametrize("blocks", [0, 1])
def test_the_strided_encoder_is_the_published_one(blocks):
    torch = pytest.importorskip("torch")
    reference, ours = torch_encoder(torch, (2, 4, 8), blocks), encoder(blocks=blocks)
    holder = nnx.Dict({"encoder": ours})
    names = published_tensors.image_encoder_names("", ("encoder",), ours)
    copy_weights(torch, reference, holder, {name.lstrip("."): place for name, place in names.items()})
    image = images(32)
    expected = reference(torch.tensor(image).permute(0, 3, 1, 2) / 255 - 0.5).flatten(1)
    np.testing.assert_allclose(ours(image), expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("blocks", "sigmoid"), [(0, False), (1, True)])
def test_the_strided_decoder_is_the_published_one(blocks, sigmoid):
    torch = pytest.importorskip("torch")
    reference = torch_decoder(torch, (4, 2), blocks, 5, 8)
    ours = decoder(blocks=blocks, minres=8, sigmoid=sigmoid)
    names = published_tensors.image_decoder_names("", ("decoders",), ours)
    holder = nnx.Dict({"decoders": ours})
    copy_weights(torch, reference, holder, {name.lstrip("."): place for name, place in names.items()})
    features = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    raw = reference(torch.tensor(features))
    expected = (torch.sigmoid(raw) if sigmoid else raw + 0.5).permute(0, 2, 3, 1)
    np.testing.assert_allclose(ours(features).mean(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_other_sizes_are_resized_by_cnn_ha():
    small, large = encoder("cnn_ha", 64), encoder("cnn_ha", 128)
    image = images(64)
    doubled = image.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(large(doubled), small(image), rtol=1e-4, atol=1e-5)
    features = jnp.ones((1, 5))
    drawn = np.asarray(decoder("cnn_ha", 64)(features).mean())
    larger = decoder("cnn_ha", 128)(features).mean()
    np.testing.assert_array_equal(larger, drawn.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((2, 3, 32, 32), np.uint8), "These look channel-first; move the channels to the end."),
        (
            np.zeros((2, 64, 64, 3), np.uint8),
            r"reads images \[..., 32, 32, 3\], these are \[..., 64, 64, 3\]",
        ),
        (
            np.zeros((2, 32, 32, 3), np.float32),
            "Images are uint8 in 0..255 until the encoder, these are float32",
        ),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_images_of_another_kind_are_refused_in_one_sentence(name, image, sentence):
    with pytest.raises(ValueError, match=sentence):
        encoder(name)(image)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(
        ValueError, match="square images of 4 times a power of two pixels, the sensor has 84x84"
    ):
        encoder(size=84)


@pytest.mark.parametrize("size", [30, 82, 110, 164, 218, 246])
def test_pixels_are_repeated_as_pytorch_repeats_them(size):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional.interpolate(torch.arange(64.0)[None, None], size=size)
    np.testing.assert_array_equal(nearest(64, size), theirs[0, 0].numpy())
