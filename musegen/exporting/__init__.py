"""Parts of trained models as files for other runtimes: ONNX, and torch.export's format."""
