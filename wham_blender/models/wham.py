"""WHAM's network: 2D keypoints, image features and the camera's turn to SMPL pose, contacts and world motion.

Shin et al., *WHAM: Reconstructing World-grounded Humans with Accurate 3D Motion*, CVPR 2024 (arXiv 2312.07531).
Everything is causal: a long clip runs in chunks that hand a ``WhamState`` on. Shapes: B people, F frames at 30 fps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..weights import WeightsError
from .loading import fill

N_JOINTS = 24
N_KEYPOINTS = 17
N_INPUT = 2 * N_KEYPOINTS + 3  # keypoints in their box, the box's place in the image
N_KEYPOINTS_3D = 3 * N_KEYPOINTS
N_POSE = 6 * N_JOINTS
_REFUSAL = (
    "These are not weights of the WHAM network: {}. Choose the published file (wham_vit_w_3dpw.pth.tar or "
    "wham_vit_bedlam_w_3dpw.pth.tar), or leave the choice to the add-on."
)
_FREE_ENDS = (10, 11, 22, 23)  # feet and hands: their first pose says nothing
_INIT_JOINTS = [joint for joint in range(N_JOINTS) if joint not in _FREE_ENDS]


class LstmState(NamedTuple):
    """What a recurrent module carries from one frame to the next."""

    h: Tensor  # (layers, B, width)
    c: Tensor  # (layers, B, width)
    last: Tensor  # (B, k) its own output of the frame before


class WhamState(NamedTuple):
    """Where a clip's last chunk ended."""

    encoder: LstmState
    trajectory: LstmState
    decoder: LstmState


class Previous(NamedTuple):
    """The outputs of the frame before each frame, for training in one fused pass."""

    keypoints: Tensor  # (B, F, 51)
    root: Tensor  # (B, F, 6)
    pose: Tensor  # (B, F, 144)


class WhamOutput(NamedTuple):
    """The network's raw outputs, before the body model."""

    keypoints: Tensor  # (B, F, 51) 17 x 3 camera-frame keypoints, hip-centred, metres
    context: Tensor  # (B, F, width + 51) motion context before the features are integrated
    velocity: Tensor  # (B, F, 3) of the root in its own axes, metres a frame
    root: Tensor  # (B, F, 6) r6d of the root in the world after each frame
    pose: Tensor  # (B, F, 144) r6d of the 24 joints, the root's in the camera frame
    betas: Tensor  # (B, F, 10)
    cam: Tensor  # (B, F, 3) weak camera: scale, tx, ty
    contact: Tensor  # (B, F, 4) left toe, left heel, right toe, right heel; about 0..1, no sigmoid


class NeuralInit(nn.Module):
    """Three linear layers that turn a first observation into the (h, c) of every layer of an LSTM."""

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.linear1 = nn.Linear(inputs, width)
        self.linear2 = nn.Linear(width, width * layers)
        self.linear3 = nn.Linear(width * layers, 2 * width * layers)

    def forward(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs) to h and c, each (layers, B, width)."""
        hidden = torch.relu(self.linear2(torch.relu(self.linear1(first))))
        h, c = self.linear3(hidden).view(len(first), 2, self.layers, -1).permute(1, 2, 0, 3)
        return h.contiguous(), c.contiguous()


class Regressor(nn.Module):
    """An LSTM with linear outputs, one of which is, a frame later, part of its input.

    ``inputs`` counts the columns from outside; the output number ``fed`` enters at column ``at`` between them.
    """

    def __init__(
        self, inputs: int, width: int, layers: int, outputs: tuple[int, ...], fed: int | None = None, at: int = 0
    ) -> None:
        super().__init__()
        self.fed, self.at, self.n_outputs = fed, at, len(outputs)
        self.n_fed = 0 if fed is None else outputs[fed]
        self.rnn = nn.LSTM(inputs + self.n_fed, width, layers, batch_first=True)
        for number, size in enumerate(outputs):
            setattr(self, f"declayer{number}", nn.Linear(width, size))

    def _decode(self, hidden: Tensor) -> list[Tensor]:
        return [self.get_submodule(f"declayer{number}")(hidden) for number in range(self.n_outputs)]

    def start(self, h_c: tuple[Tensor, Tensor] | None, last: Tensor) -> LstmState:
        """The state before the first frame; zeros where no (h, c) is given."""
        if h_c is None:
            zero = last.new_zeros(self.rnn.num_layers, len(last), self.rnn.hidden_size)
            h_c = zero, zero
        return LstmState(*h_c, last)

    def forward(
        self, x: Tensor, state: LstmState, previous: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor, LstmState]:
        """Run F frames of x (B, F, inputs) and return the outputs, the top layer's (B, F, width) and the new state.

        With ``previous`` (B, F, k) the fed-back output is taken from there and all frames run as one fused LSTM;
        without it the module runs frame by frame on its own last output.
        """
        if self.fed is None or previous is not None:
            if previous is not None:
                x = torch.cat([x[..., : self.at], previous, x[..., self.at :]], -1)
            hidden, (h, c) = self.rnn(x, (state.h, state.c))
        else:
            hidden, h, c = self._step_through(x, state)
        outputs = self._decode(hidden)
        last = state.last if self.fed is None else outputs[self.fed][:, -1]
        return outputs, hidden, LstmState(h, c, last)

    def _step_through(self, x: Tensor, state: LstmState) -> tuple[Tensor, Tensor, Tensor]:
        """Frame by frame; what does not depend on the frame before is one product for all frames."""
        after = self.at + self.n_fed
        w_ih, w_hh, b_ih, b_hh = self.rnn.all_weights[0]
        outside = torch.cat([w_ih[:, : self.at], w_ih[:, after:]], 1)
        known = (x @ outside.T + (b_ih + b_hh)).unbind(1)
        inside, biases = [torch.cat([w_ih[:, self.at : after], w_hh], 1)], [known[0].T]
        for w_ih, w_hh, b_ih, b_hh in self.rnn.all_weights[1:]:
            inside.append(torch.cat([w_ih, w_hh], 1))
            biases.append((b_ih + b_hh)[:, None])
        decode = self.get_submodule(f"declayer{self.fed}")
        h, c, last = list(state.h), [layer.T for layer in state.c], state.last
        top = []
        for frame in known:
            biases[0], below = frame.T, last
            for layer, (matrix, bias) in enumerate(zip(inside, biases, strict=True)):
                # Weights on the left: with a batch of one or two, several times faster on a CPU than on the right.
                gates = torch.addmm(bias, matrix, torch.cat([below, h[layer]], 1).T)
                enter, forget, new, leave = gates.chunk(4)
                c[layer] = torch.sigmoid(forget) * c[layer] + torch.sigmoid(enter) * torch.tanh(new)
                below = h[layer] = (torch.sigmoid(leave) * torch.tanh(c[layer])).T
            top.append(below)
            last = decode(below)
        return torch.stack(top, 1), torch.stack(h), torch.stack([layer.T for layer in c])


class MotionEncoder(nn.Module):
    """2D keypoints to 3D keypoints and the motion context."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embed_layer = nn.Linear(N_INPUT, width)
        self.neural_init = NeuralInit(N_KEYPOINTS_3D + N_INPUT, width, layers)
        self.regressor = Regressor(width, width, layers, (N_KEYPOINTS_3D,), fed=0, at=width)

    def start(self, init_kp: Tensor) -> LstmState:
        """(B, 88): the first frame's 3D keypoints, then its network input."""
        return self.regressor.start(self.neural_init(init_kp), init_kp[:, :N_KEYPOINTS_3D])

    def forward(self, x: Tensor, state: LstmState, previous: Tensor | None = None) -> tuple[Tensor, Tensor, LstmState]:
        """x (B, F, 37) to keypoints (B, F, 51), context (B, F, width + 51) and the new state."""
        (keypoints,), hidden, state = self.regressor(self.embed_layer(x), state, previous)
        return keypoints, torch.cat([hidden, keypoints], -1), state


class TrajectoryDecoder(nn.Module):
    """Motion context and the camera's turn to the root's velocity and its orientation in the world."""

    def __init__(self, context: int, layers: int) -> None:
        super().__init__()
        self.regressor = Regressor(context + 6, context, layers, (3, 6), fed=1, at=context)

    def forward(
        self, context: Tensor, cam_angvel: Tensor, state: LstmState, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor, LstmState]:
        """Velocity (B, F, 3), root r6d (B, F, 6) and the new state."""
        (velocity, root), _, state = self.regressor(torch.cat([context, cam_angvel], -1), state, previous)
        return velocity, root, state


class Integrator(nn.Module):
    """Joins the image features to the motion context."""

    def __init__(self, context: int, d_feat: int, width: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(context + d_feat, width)
        self.layer2 = nn.Linear(width, width)
        self.layer3 = nn.Linear(width, context)

    def forward(self, context: Tensor, features: Tensor, residual: Tensor) -> Tensor:
        """(B, F, context) and (B, F, d_feat) to (B, F, context); residual (B,) bool adds the context itself."""
        hidden = torch.relu(self.layer1(torch.cat([context, features], -1)))
        return self.layer3(torch.relu(self.layer2(hidden))) + context * residual[:, None, None]


class MotionDecoder(nn.Module):
    """Integrated context to SMPL pose, shape, weak camera and contacts."""

    def __init__(self, context: int, layers: int) -> None:
        super().__init__()
        self.neural_init = NeuralInit(6 * len(_INIT_JOINTS), context, layers)
        self.regressor = Regressor(context, context, layers, (N_POSE, 10, 3, 4), fed=0, at=context)

    def start(self, init_smpl: Tensor) -> LstmState:
        """(B, 24, 6): r6d of the first frame's pose."""
        return self.regressor.start(self.neural_init(init_smpl[:, _INIT_JOINTS].flatten(1)), init_smpl.flatten(1))

    def forward(
        self, context: Tensor, state: LstmState, previous: Tensor | None = None
    ) -> tuple[list[Tensor], LstmState]:
        """[pose (B, F, 144), betas (B, F, 10), cam (B, F, 3), contact (B, F, 4)] and the new state."""
        outputs, _, state = self.regressor(context, state, previous)
        return outputs, state


class TrajectoryRefiner(nn.Module):
    """Corrects the root's orientation and velocity from how the feet move in the world."""

    def __init__(self, context: int, width: int, layers: int) -> None:
        super().__init__()
        self.refiner = Regressor(context + 12 + 6 + 3, width, layers, (6, 3))

    def forward(
        self, context: Tensor, foot_velocity: Tensor, root: Tensor, velocity: Tensor, state: LstmState | None = None
    ) -> tuple[Tensor, Tensor, LstmState]:
        """Refined root r6d (B, F, 6), refined velocity (B, F, 3) and the new state (None starts at zero).

        Takes the context before integration, the feet's velocity in the world times contact (B, F, 12), metres a
        second, the root r6d (B, F, 6) after each frame and the velocity (B, F, 3), metres a frame.
        """
        state = state or self.refiner.start(None, root[:, 0])
        x = torch.cat([context, foot_velocity, root, velocity], -1)
        (delta_root, delta_velocity), _, state = self.refiner(x, state)
        return root + delta_root, velocity + delta_velocity, state


class WHAM(nn.Module):
    """The whole network; the default sizes are the published ones.

    ``d_feat`` None: without an integrator, as the first stage of training leaves it. Image features are then of no use.
    """

    def __init__(
        self,
        width: int = 512,
        layers: int = 3,
        d_feat: int | None = 1024,
        integrator_width: int = 1024,
        refiner_width: int = 512,
        refiner_layers: int = 2,
    ) -> None:
        super().__init__()
        context = width + N_KEYPOINTS_3D
        self.mask_embedding = nn.Parameter(torch.zeros(1, 1, N_KEYPOINTS, 2))
        self.motion_encoder = MotionEncoder(width, layers)
        self.trajectory_decoder = TrajectoryDecoder(context, layers)
        self.integrator = None if d_feat is None else Integrator(context, d_feat, integrator_width)
        self.motion_decoder = MotionDecoder(context, layers)
        self.trajectory_refiner = TrajectoryRefiner(context, refiner_width, refiner_layers)

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> WHAM:
        """A network of the sizes that the tensors have, holding them; ``smpl.*`` is the body's and is skipped.

        Tensors without any of the integrator's are those of the first stage of training, and so is the network.
        Raises WeightsError where a tensor is missing, unknown or of a shape that does not fit the others.
        """
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith("smpl.")}

        def layers(prefix: str) -> int:
            return sum(name.startswith(f"{prefix}.rnn.weight_hh_l") for name in own)

        try:
            width = own["motion_encoder.regressor.rnn.weight_hh_l0"].shape[1]
            refiner_width = own["trajectory_refiner.refiner.rnn.weight_hh_l0"].shape[1]
            joined: Sequence[int] = (0, width + N_KEYPOINTS_3D)
            if any(name.startswith("integrator.") for name in own):
                joined = own["integrator.layer1.weight"].shape
        except KeyError as error:
            raise WeightsError(_REFUSAL.format(f"the tensor {error.args[0]} is missing")) from error
        except IndexError as error:
            raise WeightsError(_REFUSAL.format("a matrix is flat")) from error
        d_feat = joined[1] - width - N_KEYPOINTS_3D
        if d_feat < 1 and joined[0]:
            raise WeightsError(_REFUSAL.format("integrator.layer1.weight is too narrow for the motion encoder"))
        with torch.device("meta"):
            model = cls(
                width, layers("motion_encoder.regressor"), d_feat or None, joined[0], refiner_width,
                layers("trajectory_refiner.refiner"),
            )  # fmt: skip
        fill(model, own, _REFUSAL)
        return model

    @property
    def d_feat(self) -> int | None:
        """Width of the image features that the network takes, None where it takes none."""
        if self.integrator is None:
            return None
        return self.integrator.layer1.in_features - self.integrator.layer3.out_features

    def start(self, init_kp: Tensor, init_smpl: Tensor, init_root: Tensor) -> WhamState:
        """The state before a track's first frame.

        init_kp (B, 88): 17 x 3 hip-centred keypoints and the first network input; init_smpl (B, 24, 6): r6d of the
        first pose; init_root (B, 6): r6d of its global orientation.
        """
        return WhamState(
            self.motion_encoder.start(init_kp),
            self.trajectory_decoder.regressor.start(None, init_root),
            self.motion_decoder.start(init_smpl),
        )

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        cam_angvel: Tensor,
        features: Tensor | None,
        state: WhamState,
        residual: Tensor | None = None,
        previous: Previous | None = None,
    ) -> tuple[WhamOutput, WhamState]:
        """Run F frames on from ``state``.

        x (B, F, 37): network input; mask (B, F, 17) bool: keypoints that the mask embedding replaces;
        cam_angvel (B, F, 6); features (B, F, d_feat), or None to skip the integrator; residual (B,) bool: whether
        the integrator adds the context, which the reference does for clips in which no feature is exactly zero
        (None: looked up in these frames, right where they are the whole clip); previous: see ``Regressor.forward``.
        """
        known = previous or (None, None, None)
        points = x[..., : 2 * N_KEYPOINTS].unflatten(-1, (N_KEYPOINTS, 2))
        points = torch.where(mask[..., None], self.mask_embedding, points)
        x = torch.cat([points.flatten(2), x[..., 2 * N_KEYPOINTS :]], -1)
        keypoints, context, encoder = self.motion_encoder(x, state.encoder, known[0])
        velocity, root, trajectory = self.trajectory_decoder(context, cam_angvel, state.trajectory, known[1])
        joined = context
        if features is not None and self.integrator is not None:
            residual = (features != 0).all(-1).all(-1) if residual is None else residual
            joined = self.integrator(context, features, residual)
        outputs, decoder = self.motion_decoder(joined, state.decoder, known[2])
        result = WhamOutput(keypoints, context, velocity, root, *outputs)
        return result, WhamState(encoder, trajectory, decoder)
