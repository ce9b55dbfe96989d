"""What a trained model can be used for, each use beside its plain baseline, in seconds: `measure_uses=true`."""
