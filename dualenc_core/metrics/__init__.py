"""How close pictures are: numbers that need no weights."""

from .pictures import depth_error, gradient_distance, mask_iou, mse, psnr, sharpness, ssim

__all__ = ["depth_error", "gradient_distance", "mask_iou", "mse", "psnr", "sharpness", "ssim"]
