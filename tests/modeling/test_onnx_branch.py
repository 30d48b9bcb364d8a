"""The branch of ONNX files: equal embeddings, any batch, wrong and exchanged files."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList
from torch.nn import functional as F

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.engine import load_trained_model
from clsa_search.engine.setup import check_trainable, load_config
from clsa_search.errors import InputError
from clsa_search.export import export_model
from clsa_search.modeling.onnx_branch import ONNXBranch, hash_onnx
from clsa_search.modeling.onnx_network import ONNXNetwork, read_onnx_file
from clsa_search.modeling.optimize import optimize_for_inference
from tests.support.onnx_files import CROP, WIDTH, embed_in_torch, write_onnx

pytest.importorskip("onnxruntime")


def open_network(path, **options):
    return ONNXNetwork(path.read_bytes(), str(path), **options)


def open_branch(path, **options):
    options = {"crop_size": CROP, "embed_dim": WIDTH, **options}
    branch = ONNXBranch(path=str(path), **options).eval()
    branch.load_state_dict({"sha256": hash_onnx(path.read_bytes())})
    return branch


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("count", [1, 4, 70])
def test_embeddings_equal_those_of_torch_in_any_batch(tmp_path, batch, count):
    network = open_network(write_onnx(tmp_path / "a.onnx", batch=batch))
    crops = np.random.default_rng(1).normal(size=(count, 3, *CROP)).astype(np.float32)
    np.testing.assert_allclose(network.embed(crops), embed_in_torch(crops), atol=1e-5)


def test_the_branch_cuts_and_embeds_boxes(tmp_path):
    branch = open_branch(write_onnx(tmp_path / "a.onnx"))
    images = ImageList.from_tensors([torch.rand(3, 40, 50), torch.rand(3, 40, 50)])
    boxes = [Boxes(torch.tensor([[0.0, 0, 16, 32], [3, 5, 19, 37]])), Boxes(torch.empty(0, 4))]
    (rows,) = branch(images, {}, boxes).values()
    expected = embed_in_torch(images.tensor[:1, :, :32, :16])
    torch.testing.assert_close(rows[:1, :, 0, 0], expected, atol=1e-5, rtol=0)
    assert rows.shape == (2, WIDTH, 1, 1)
    assert branch(images, {}, [boxes[1]] * 2)["onnx"].shape == (0, WIDTH, 1, 1)


def test_outputs_of_several_are_chosen_by_name(tmp_path):
    path = write_onnx(tmp_path / "a.onnx", outputs=("y", "z"))
    assert open_network(path, output="z").embed(np.zeros((1, 3, *CROP))).shape == (1, WIDTH)
    for name in ("", "w"):
        with pytest.raises(InputError, match="a.onnx: has the outputs y, z; expected the name"):
            open_network(path, output=name)


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / "a.onnx"
    for content in (b"", b"no network", write_onnx(path).read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{path}: not a readable ONNX network"):
            open_network(path)
        with pytest.raises(InputError, match=f"{path}: "):
            ONNXNetwork(read_onnx_file(str(path)), str(path))
    with pytest.raises(InputError, match="none.onnx: cannot be read: No such file"):
        read_onnx_file(str(tmp_path / "none.onnx"))
    write_onnx(path, channels=1)
    with pytest.raises(InputError, match=r"has the inputs: x \['n', 1, 32, 16\]; expected one"):
        open_network(path)
    with pytest.raises(InputError, match=r"has the inputs: x .*; v .*; expected one of shape"):
        open_network(write_onnx(path, inputs=("x", "v")))


def test_weights_beside_a_file_become_part_of_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = write_onnx(tmp_path / "a.onnx")
    alone = path.read_bytes()
    assert read_onnx_file(str(path)) == alone
    onnx.save(
        onnx.load(str(path)),
        str(path),
        save_as_external_data=True,
        location="a.data",
        size_threshold=0,
    )
    data = read_onnx_file(str(path))
    (tmp_path / "a.data").unlink()
    crops = np.ones((2, 3, *CROP), np.float32)
    embeddings = ONNXNetwork(data, "a.onnx").embed(crops)
    np.testing.assert_allclose(embeddings, embed_in_torch(crops), atol=1e-5)
    with pytest.raises(InputError, match="a.onnx: not a readable ONNX file"):
        read_onnx_file(str(path))


def test_other_sizes_and_widths_are_refused(tmp_path):
    path = write_onnx(tmp_path / "a.onnx")
    with pytest.raises(InputError, match="takes crops of 32 x 16 pixels; expected 64 x 16 of"):
        open_branch(path, crop_size=(64, 16))
    with pytest.raises(InputError, match="its embedding has 8 numbers; expected 9 of MODEL.REID"):
        open_branch(path, embed_dim=9)


def test_exchanged_and_missing_files_are_refused(tmp_path):
    path = write_onnx(tmp_path / "a.onnx")
    branch = open_branch(path)
    write_onnx(path, batch=1)
    with pytest.raises(InputError, match="a.onnx: is another file than that of the weights"):
        branch.load_state_dict(branch.state_dict())
    path.unlink()
    with pytest.raises(InputError, match="a.onnx: cannot be read: No such file"):
        branch.load_state_dict(branch.state_dict())


def test_it_is_not_trained_and_needs_its_weights(tmp_path):
    images = ImageList.from_tensors([torch.rand(3, 40, 50)])
    branch = ONNXBranch(path="a.onnx", crop_size=CROP, embed_dim=WIDTH)
    boxes = [Boxes(torch.tensor([[0.0, 0, 16, 32]]))]
    with pytest.raises(InputError, match="is ONNXBranch, which cannot be trained"):
        branch(images, {}, boxes)
    with pytest.raises(InputError, match="is ONNXBranch, which cannot be trained"):
        check_trainable(load_config("", ["MODEL.REID.NAME", "ONNXBranch"]))
    with pytest.raises(InputError, match="a.onnx: is not open; expected MODEL.WEIGHTS"):
        branch.eval()(images, {}, boxes)


@pytest.fixture
def onnx_cfg(tiny_cfg):
    reid = tiny_cfg.MODEL.REID
    reid.NAME, reid.LEVELS, reid.CROP_SIZE = "ONNXBranch", ["onnx"], list(CROP)
    reid.HEAD.NAME, reid.HEAD.EMBED_DIM, reid.HEAD.POOL = "PooledHead", WIDTH, "avg"
    reid.INPUT.FORMAT, reid.INPUT.PIXEL_MEAN, reid.INPUT.PIXEL_STD = "RGB", [9, 8, 7], [2, 3, 4]
    return tiny_cfg


def test_a_model_with_a_detector_embeds_before_and_after_optimization(onnx_cfg, tmp_path):
    path = write_onnx(tmp_path / "street.onnx")
    model = build_model(onnx_cfg)
    model.reid_branch.sha256.copy_(hash_onnx(path.read_bytes()))
    PersonSearchCheckpointer(model, str(tmp_path)).save("street")
    (tmp_path / "config.yaml").write_text(onnx_cfg.dump())
    model = load_trained_model(tmp_path / "street.pth", None, []).model
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    example = {"image": image, "height": 96, "width": 128}
    box = Boxes(torch.tensor([[10.0, 20, 26, 52]]))
    example |= {"query_boxes": box, "query_ids": torch.tensor([0])}
    crop = image[:, 20:52, 10:26].flip(0).float()
    for channel, (mean, std) in enumerate(((9, 2), (8, 3), (7, 4))):
        crop[channel] = (crop[channel] - mean) / std
    expected = F.normalize(embed_in_torch(crop[None]), dim=1)
    for _ in range(2):
        with torch.no_grad():
            (output,) = model([example])
        torch.testing.assert_close(output["queries"].embeddings, expected, atol=1e-5, rtol=0)
        assert len(output["instances"].embeddings) == len(output["instances"])
        optimize_for_inference(model)
    with pytest.raises(InputError, match="street.onnx is the export of its network"):
        export_model(
            tmp_path / "street.pth", tmp_path / "a.pt", what="reid", file_format="torchscript"
        )


def test_a_generalized_mean_of_embeddings_is_refused(onnx_cfg):
    onnx_cfg.MODEL.REID.HEAD.POOL = "gem"
    with pytest.raises(InputError, match="MODEL.REID.HEAD.POOL is 'gem'; expected 'avg'"):
        build_model(onnx_cfg)
