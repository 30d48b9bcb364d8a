"""The way to a first search without training: two public files, two commands."""

FIRST_USE = """\
`index` needs weights: a detector of people and a re-ID network. Without training of your own,
download one file of each kind; nothing is downloaded for you.

  detector: Faster R-CNN R50-FPN of Detectron2's model zoo, trained on COCO
    https://dl.fbaipublicfiles.com/detectron2/COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl
    box AP on COCO 40.2; license CC BY-SA 3.0

  re-ID network: BoT R50 of fast-reid, trained on MSMT17 or on Market-1501
    https://github.com/JDAI-CV/fast-reid/releases/download/v0.1.1/msmt_bot_R50.pth
      on MSMT17 rank-1 74.1, mAP 50.2
    https://github.com/JDAI-CV/fast-reid/releases/download/v0.1.1/market_bot_R50.pth
      on Market-1501 rank-1 94.4, mAP 86.1
    license Apache-2.0 for the code; the training images are for research

Then:
  clsa-convert-weights --detector model_final_280758.pkl --reid msmt_bot_R50.pth weights/street.pth
  clsa-search index --weights weights/street.pth --store street.db my_videos/

The accuracy is published for the test sets of the same cameras; expect less in your streets.
Boxes of your own detector: --detections. Other networks, ONNX files: docs/weights.md.
"""
"""Text for a user without weights; the numbers are from the tables of the projects."""
