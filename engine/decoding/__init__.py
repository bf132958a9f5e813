"""The denoising loop and its neighbours: canvas, policy, recorder."""
