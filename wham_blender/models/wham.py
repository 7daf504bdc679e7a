"""WHAM's network: 2D keypoints, image features and camera rotation to SMPL pose, contacts and motion in the world.

Shin et al., *WHAM: Reconstructing World-grounded Humans with Accurate 3D Motion*, CVPR 2024 (arXiv 2312.07531).
All modules are causal: a long clip runs in chunks, each of which starts from the ``WhamState`` of the one before.
Shapes: B people, F frames at 30 fps.
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
N_INPUT = 2 * N_KEYPOINTS + 3  # keypoints in their bounding box, the box's position and size in the image
N_KEYPOINTS_3D = 3 * N_KEYPOINTS
N_POSE = 6 * N_JOINTS
_REFUSAL = (
    "These are not weights of the WHAM network: {}. Choose the published file (wham_vit_w_3dpw.pth.tar or "
    "wham_vit_bedlam_w_3dpw.pth.tar), or leave the choice to the add-on."
)
_END_JOINTS = (10, 11, 22, 23)  # feet and hands, which the published network leaves out of the first pose
_INIT_JOINTS = [joint for joint in range(N_JOINTS) if joint not in _END_JOINTS]


class LstmState(NamedTuple):
    """State of a recurrent module between two frames."""

    h: Tensor  # (layers, B, width)
    c: Tensor  # (layers, B, width)
    last: Tensor  # (B, k) the module's output of the frame before, which is fed back


class WhamFrames(NamedTuple):
    """Inputs of F frames."""

    x: Tensor  # (B, F, 37) keypoints in their box, and the box, see wham_inference.network_input
    mask: Tensor  # (B, F, 17) bool: keypoints that the mask embedding replaces
    cam_angvel: Tensor  # (B, F, 6) camera angular velocity, see wham_inference.camera_angular_velocity
    features: Tensor | None = None  # (B, F, d_feat) image features; None skips the integrator


class WhamState(NamedTuple):
    """State of the network between two chunks of a clip."""

    encoder: LstmState
    trajectory: LstmState
    decoder: LstmState


class Previous(NamedTuple):
    """The outputs of the frame before each frame, for training in one pass (teacher forcing)."""

    keypoints: Tensor  # (B, F, 51)
    root: Tensor  # (B, F, 6)
    pose: Tensor  # (B, F, 144)


class WhamOutput(NamedTuple):
    """The network's raw outputs, before the body model."""

    keypoints: Tensor  # (B, F, 51) 17 x 3 camera-frame keypoints, hip-centred, metres
    context: Tensor  # (B, F, width + 51) motion context before the features are integrated
    velocity: Tensor  # (B, F, 3) of the root in the root's axes, metres a frame
    root: Tensor  # (B, F, 6) r6d of the root in the world after each frame
    pose: Tensor  # (B, F, 144) r6d of the 24 joints, the root's in the camera frame
    betas: Tensor  # (B, F, 10)
    cam: Tensor  # (B, F, 3) weak-perspective camera: scale, tx, ty
    contact: Tensor  # (B, F, 4) left toe, left heel, right toe, right heel; about 0..1, without a sigmoid


class NeuralInit(nn.Module):
    """Three linear layers from a first observation to the initial (h, c) of every layer of an LSTM."""

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
    """An LSTM with linear output layers, one of which may be fed back as input of the next frame.

    ``inputs``: number of columns of x; the fed-back output, number ``fed``, is inserted at column ``at``.
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
        """The state before the first frame; zeros if no (h, c) is given."""
        if h_c is None:
            zero = last.new_zeros(self.rnn.num_layers, len(last), self.rnn.hidden_size)
            h_c = zero, zero
        return LstmState(*h_c, last)

    def forward(
        self, x: Tensor, state: LstmState, previous: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor, LstmState]:
        """Run F frames of x (B, F, inputs); returns the outputs, the top layer's hidden states and the new state.

        With ``previous`` (B, F, k) the fed-back output is taken from there, and all frames run as one fused LSTM;
        without it the module runs frame by frame on its last output. Hidden states: (B, F, width).
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
        """Run frame by frame; what does not depend on the frame before is one product for all frames."""
        after = self.at + self.n_fed
        w_ih, w_hh, b_ih, b_hh = self.rnn.all_weights[0]
        w_x = torch.cat([w_ih[:, : self.at], w_ih[:, after:]], 1)
        from_x = (x @ w_x.T + (b_ih + b_hh)).unbind(1)
        recurrent, biases = [torch.cat([w_ih[:, self.at : after], w_hh], 1)], [from_x[0].T]
        for w_ih, w_hh, b_ih, b_hh in self.rnn.all_weights[1:]:
            recurrent.append(torch.cat([w_ih, w_hh], 1))
            biases.append((b_ih + b_hh)[:, None])
        decode = self.get_submodule(f"declayer{self.fed}")
        h, c, last = list(state.h), [layer.T for layer in state.c], state.last
        top = []
        for frame in from_x:
            biases[0], below = frame.T, last
            for layer, (matrix, bias) in enumerate(zip(recurrent, biases, strict=True)):
                # Weights on the left: with a batch of one or two, several times faster on a CPU than on the right.
                gates = torch.addmm(bias, matrix, torch.cat([below, h[layer]], 1).T)
                input_gate, forget_gate, cell, output_gate = gates.chunk(4)
                c[layer] = torch.sigmoid(forget_gate) * c[layer] + torch.sigmoid(input_gate) * torch.tanh(cell)
                below = h[layer] = (torch.sigmoid(output_gate) * torch.tanh(c[layer])).T
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
    """Motion context and camera angular velocity to the root's velocity and its orientation in the world."""

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
    """Integrated context to SMPL pose, shape, weak-perspective camera and contacts."""

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
    """The network; the default sizes are the published ones.

    ``d_feat`` None: without an integrator, as after the first stage of training. Image features are then ignored.
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

        Without tensors of the integrator, as after the first stage of training, the network has no integrator.
        Raises WeightsError if a tensor is missing, unknown or of a shape that does not fit the others.
        """
        network = {name: tensor for name, tensor in tensors.items() if not name.startswith("smpl.")}

        def layers(prefix: str) -> int:
            return sum(name.startswith(f"{prefix}.rnn.weight_hh_l") for name in network)

        try:
            width = network["motion_encoder.regressor.rnn.weight_hh_l0"].shape[1]
            refiner_width = network["trajectory_refiner.refiner.rnn.weight_hh_l0"].shape[1]
            integrator: Sequence[int] = (0, width + N_KEYPOINTS_3D)  # outputs and inputs of its first layer
            if any(name.startswith("integrator.") for name in network):
                integrator = network["integrator.layer1.weight"].shape
        except KeyError as error:
            raise _refusal(f"the tensor {error.args[0]} is missing") from error
        except IndexError as error:
            raise _refusal("a matrix is flat") from error
        d_feat = integrator[1] - width - N_KEYPOINTS_3D
        if d_feat < 1 and integrator[0]:
            raise _refusal("integrator.layer1.weight is too narrow for the motion encoder")
        with torch.device("meta"):
            model = cls(
                width, layers("motion_encoder.regressor"), d_feat or None, integrator[0], refiner_width,
                layers("trajectory_refiner.refiner"),
            )  # fmt: skip
        fill(model, network, _REFUSAL)
        return model

    @property
    def d_feat(self) -> int | None:
        """Width of the image features that the network takes, None if it takes none."""
        if self.integrator is None:
            return None
        return self.integrator.layer1.in_features - self.integrator.layer3.out_features

    def start(self, init_kp: Tensor, init_smpl: Tensor, init_root: Tensor) -> WhamState:
        """The state before a track's first frame.

        init_kp (B, 88): 17 x 3 hip-centred keypoints and the first frame's network input; init_smpl (B, 24, 6): r6d
        of the first pose; init_root (B, 6): r6d of its global orientation.
        """
        return WhamState(
            self.motion_encoder.start(init_kp),
            self.trajectory_decoder.regressor.start(None, init_root),
            self.motion_decoder.start(init_smpl),
        )

    def forward(
        self,
        frames: WhamFrames,
        state: WhamState,
        residual: Tensor | None = None,
        previous: Previous | None = None,
    ) -> tuple[WhamOutput, WhamState]:
        """Run F frames from ``state``; returns their outputs and the state after them.

        residual (B,) bool: whether the integrator adds the context, which the reference implementation does for clips
        in which no feature is exactly zero (None: computed from these frames, correct if they are all of the clip's);
        previous: see ``Regressor.forward``.
        """
        fed_back = previous or (None, None, None)
        points = frames.x[..., : 2 * N_KEYPOINTS].unflatten(-1, (N_KEYPOINTS, 2))
        points = torch.where(frames.mask[..., None], self.mask_embedding, points)
        x = torch.cat([points.flatten(2), frames.x[..., 2 * N_KEYPOINTS :]], -1)
        keypoints, context, encoder = self.motion_encoder(x, state.encoder, fed_back[0])
        velocity, root, trajectory = self.trajectory_decoder(
            context, frames.cam_angvel, state.trajectory, fed_back[1]
        )  # fmt: skip
        integrated = context
        if frames.features is not None and self.integrator is not None:
            residual = (frames.features != 0).all(-1).all(-1) if residual is None else residual
            integrated = self.integrator(context, frames.features, residual)
        outputs, decoder = self.motion_decoder(integrated, state.decoder, fed_back[2])
        result = WhamOutput(keypoints, context, velocity, root, *outputs)
        return result, WhamState(encoder, trajectory, decoder)


def _refusal(reason: str) -> WeightsError:
    return WeightsError(_REFUSAL.format(reason), code="weights-wrong-network")
