"""The policy against transformers, against itself unchunked, and against poisoned padding."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from harness.model.dims import (
    ModelDims,
    RopeScaling,
    flops_per_token,
    num_non_embedding_parameters,
    num_parameters,
)
from harness.model.files.hub import load_pretrained, read_weights, save_pretrained
from harness.model.head import chunked_logprobs
from harness.model.policy import Policy, init_policy, lm_loss, token_logprobs
from harness.model.rows import GatherIndex, pack_rows
from tests.shapes import model_dims

LLAMA = model_dims(
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    vocab_size=61,
    max_position_embeddings=128,
)
DIMS = {
    "llama": LLAMA,
    "llama_mqa_wide_heads": dataclasses.replace(LLAMA, num_heads=2, num_kv_heads=1, head_dim=24),
    "llama3_rope": dataclasses.replace(
        LLAMA, rope_scaling=RopeScaling(8.0, 1.0, 4.0, original_max_position_embeddings=16)
    ),
    "qwen2": dataclasses.replace(LLAMA, architecture="qwen2", tie_word_embeddings=False, rope_theta=1e6),
    "qwen3": dataclasses.replace(LLAMA, architecture="qwen3", head_dim=12, rms_norm_eps=1e-6),
}


def random_policy(dims: ModelDims, seed: int = 0) -> Policy:
    """Larger, noisier weights than a fresh model's, so that norms, biases and rotations all matter."""
    policy = init_policy(dims, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return policy


def _ragged(dims: ModelDims, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([9, 3, 12, 1])
    input_ids = torch.randint(0, dims.vocab_size, (4, 12), generator=generator)
    mask = (torch.arange(12) >= 2) & (torch.arange(12) < lengths[:, None])
    return input_ids, lengths, mask


def _reference(folder: Path, policy: Policy):
    from transformers import AutoModelForCausalLM

    save_pretrained(policy, folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def _plain_logprobs(model, input_ids, lengths, mask, temperature):
    """Row by row, no padding, whole logits: what token_logprobs must equal."""
    out = torch.zeros(input_ids.shape)
    for row, length in enumerate(lengths.tolist()):
        logits = model(input_ids[row : row + 1, :length]).logits[0] / temperature
        logprobs = logits.log_softmax(-1)[:-1].gather(1, input_ids[row, 1:length, None]).squeeze(1)
        out[row, 1:length] = torch.where(mask[row, 1:length], logprobs, 0.0)
    return out


@pytest.mark.parametrize("name", DIMS)
def test_logprobs_and_gradients_equal_transformers(name: str, tmp_path: Path) -> None:
    policy = random_policy(DIMS[name])
    reference = _reference(tmp_path, policy)
    input_ids, lengths, mask = _ragged(DIMS[name])
    weights = torch.randn(input_ids.shape, generator=torch.Generator().manual_seed(3))

    expected = _plain_logprobs(reference, input_ids, lengths, mask, 0.7)
    (expected * weights).sum().backward()
    logprobs, _ = token_logprobs(policy, pack_rows(input_ids, lengths, mask), temperature=0.7)
    (logprobs * weights).sum().backward()

    torch.testing.assert_close(logprobs, expected, rtol=1e-5, atol=1e-5)
    theirs = dict(reference.named_parameters())
    for parameter_name, parameter in policy.named_parameters():
        scale = theirs[parameter_name].grad.abs().max()
        torch.testing.assert_close(
            parameter.grad / scale,
            theirs[parameter_name].grad / scale,
            rtol=1e-5,
            atol=1e-5,
            msg=parameter_name,
        )


@pytest.mark.parametrize("name", DIMS)
def test_folder_round_trip_both_ways(name: str, tmp_path: Path) -> None:
    policy = random_policy(DIMS[name])
    reference = _reference(tmp_path / "ours", policy)
    reference.save_pretrained(tmp_path / "theirs", max_shard_size="10KB")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
    for folder in ("ours", "theirs"):
        loaded = load_pretrained(tmp_path / folder, dtype=torch.float32, device="cpu")
        assert loaded.dims == policy.dims
        for key, tensor in policy.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], tensor), key
    assert read_weights(tmp_path / "ours").keys() == policy.state_dict().keys()


def test_wrong_folders_name_the_field(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no config"):
        load_pretrained(tmp_path, dtype=torch.float32, device="cpu")
    policy = init_policy(LLAMA, 0)
    save_pretrained(policy, tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"rope_type": "default"', '"rope_type": "yarn"'))
    with pytest.raises(ValueError, match="rope_type is 'yarn'"):
        load_pretrained(tmp_path, dtype=torch.float32, device="cpu")
    (tmp_path / "config.json").write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(ValueError, match=r"layers\.2"):
        load_pretrained(tmp_path, dtype=torch.float32, device="cpu")


def test_padding_content_is_never_read() -> None:
    policy = random_policy(LLAMA)
    input_ids, lengths, mask = _ragged(LLAMA)
    poisoned = torch.where(torch.arange(12) < lengths[:, None], input_ids, -(10**12))
    everywhere = torch.ones_like(mask)
    clean, _ = token_logprobs(policy, pack_rows(input_ids, lengths, mask), temperature=1.0)
    dirty, _ = token_logprobs(policy, pack_rows(poisoned, lengths, everywhere), temperature=1.0)
    assert torch.equal(torch.where(mask, dirty, 0.0), clean)
    assert torch.all(dirty[torch.arange(12) >= lengths[:, None]] == 0.0)
    assert torch.all(dirty[:, 0] == 0.0)
    wider = torch.nn.functional.pad(input_ids, (0, 5), value=7)
    rows = pack_rows(wider, lengths, torch.nn.functional.pad(mask, (0, 5)))
    padded, _ = token_logprobs(policy, rows, temperature=1.0)
    torch.testing.assert_close(padded[:, :12], clean, rtol=0, atol=2e-6)


def test_chunks_and_recomputation_do_not_change_values_or_gradients() -> None:
    input_ids, lengths, mask = _ragged(LLAMA)
    results = []
    for chunk, recompute in ((1000, False), (3, False), (1000, True)):
        policy = random_policy(LLAMA)
        policy.recompute_layers = recompute
        logprobs, entropy = token_logprobs(
            policy,
            pack_rows(input_ids, lengths, mask),
            temperature=1.3,
            with_entropy=True,
            chunk_tokens=chunk,
        )
        assert entropy is not None and not entropy.requires_grad
        (logprobs**2).sum().backward()
        results.append((logprobs.detach(), entropy, *(p.grad for p in policy.parameters())))
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            assert found is not None and expected is not None
            largest = expected.abs().max().item()  # float32 sums in another order differ relative to this
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("chunk", [1000, 3])
def test_a_frozen_head_has_no_gradient_and_costs_the_others_nothing(chunk: int) -> None:
    torch.manual_seed(0)
    start, table, targets = torch.randn(7, 8), torch.randn(11, 8), torch.arange(7)
    gradients = []
    for trained in (True, False):
        states, weight = start.clone().requires_grad_(), table.clone().requires_grad_(trained)
        found, _ = chunked_logprobs(states, weight, targets, 1.3, with_entropy=False, chunk_tokens=chunk)
        found.square().sum().backward()
        assert (weight.grad is not None) == trained
        gradients.append(states.grad)
    assert torch.equal(gradients[0], gradients[1])


def test_entropy_and_logprobs_equal_their_definitions() -> None:
    policy = random_policy(LLAMA)
    input_ids, lengths, mask = _ragged(LLAMA)
    with torch.no_grad():
        logprobs, entropy = token_logprobs(
            policy, pack_rows(input_ids, lengths, mask), temperature=0.5, with_entropy=True
        )
        states = policy.hidden(pack_rows(input_ids, lengths))
        # Row 1 holds tokens 9, 10, 11 of the packed order; its position 2 is predicted from token 10.
        full = ((states[10] @ policy.head_weight.T) / 0.5).log_softmax(-1)
    assert entropy is not None
    torch.testing.assert_close(logprobs[1, 2], full[input_ids[1, 2]], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(entropy[1, 2], -(full.exp() * full).sum(), rtol=1e-5, atol=1e-6)
    assert torch.all(entropy[~mask] == 0.0)


def test_gradient_of_the_hand_written_operations() -> None:
    from harness.model.fused import pack, rms_norm, rotate, spread, swiglu, unpack

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    def compare(fused, plain, *inputs: torch.Tensor) -> None:
        out, expected = fused(*inputs), plain(*inputs)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
        seed = torch.randn(out.shape, generator=generator)
        ours = torch.autograd.grad(out, inputs, seed)
        torch.testing.assert_close(ours, torch.autograd.grad(expected, inputs, seed), rtol=1e-4, atol=1e-5)

    compare(
        lambda x, w: rms_norm(x, w, 0.1),
        lambda x, w: x / (x.pow(2).mean(-1, keepdim=True) + 0.1).sqrt() * w,
        draw(5, 8),
        draw(8),
    )
    compare(
        lambda x, w: rms_norm(x, w, 0.1),
        lambda x, w: x / (x.pow(2).mean(-1, keepdim=True) + 0.1).sqrt() * w,
        draw(5, 3, 8),
        draw(3, 8),
    )
    compare(swiglu, lambda x: x[:, :6] / (1 + (-x[:, :6]).exp()) * x[:, 6:], draw(5, 12))
    angle = torch.rand(5, 1, 4, generator=generator)

    def turn(x: torch.Tensor) -> torch.Tensor:
        even, odd = x[:, :4, 0::2], x[:, :4, 1::2]
        turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
        return torch.cat((torch.stack(turned, dim=-1).flatten(-2), x[:, 4:]), dim=1)

    def whole(x: torch.Tensor) -> torch.Tensor:
        """Three queries, a key and a value."""
        return torch.cat(rotate(x, torch.polar(torch.ones_like(angle), angle), 3), dim=1)

    compare(whole, turn, draw(5, 5, 8))
    places = GatherIndex(*map(torch.tensor, ([2, 0, 2, 5, 2], [1, 0, 2, 4, 3], [0, 1, 1, 4, 4, 4, 5])))
    compare(lambda x: spread(x, places), lambda x: x[places.index], draw(6, 4))
    index = torch.tensor([0, 2, 5])
    compare(lambda x: pack(x, index), lambda x: x[index], draw(6, 4))
    compare(
        lambda x: unpack(x, index, 2, 3).flatten(0, 1),
        lambda x: torch.eye(6)[:, index] @ x,
        draw(3, 4),
    )


def test_lm_loss_is_the_negative_logprob_of_all_but_the_first_token() -> None:
    policy = init_policy(dataclasses.replace(LLAMA, vocab_size=512), 0)
    policy.model.embed_tokens.weight.data.zero_()  # all logits 0: every token costs log 512 = 6.2383
    loss = lm_loss(policy, torch.zeros(2, 4, dtype=torch.long), torch.tensor([4, 2]))
    expected = torch.tensor([[0, 6.2383, 6.2383, 6.2383], [0, 6.2383, 0, 0]])
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-4)


def test_init_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = init_policy(LLAMA, 1), init_policy(LLAMA, 1), init_policy(LLAMA, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head_weight, other.head_weight)
    # D = 32: sqrt(2 / (5 × 32)) = 0.1118; two layers: / sqrt(2 × 2) = 0.0559 into the residual
    assert abs(first.model.layers[0].mlp.up_proj.weight.std().item() - 0.1118) < 5e-3
    assert abs(first.model.layers[0].mlp.down_proj.weight.std().item() - 0.0559) < 5e-3


def test_counts_by_hand() -> None:
    # q and o 32×32 each, k and v 32×16 each = 3072; MLP 3×32×48 = 4608; norms 64. Two layers, final norm 32.
    assert num_non_embedding_parameters(LLAMA) == 2 * (3072 + 4608 + 64) + 32
    for dims in DIMS.values():
        policy = init_policy(dims, 0)
        assert num_parameters(dims) == sum(parameter.numel() for parameter in policy.parameters())
    # 6 (2 × 7680 + 32 × 61) + 6 × 2 layers × 4 heads × 8 × 10 tokens of context
    assert flops_per_token(LLAMA, 10) == 6 * (15360 + 1952) + 3840


def test_dims_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="num_heads is 4"):
        dataclasses.replace(LLAMA, num_kv_heads=3)
    with pytest.raises(ValueError, match="architecture is 'gpt'"):
        dataclasses.replace(LLAMA, architecture="gpt")
