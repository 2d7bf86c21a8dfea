"""DiSCO in a plain PyTorch loop, without the trainer: python examples/plain_loop.py"""

import torch

from nearfar import TensorDataset, create, make_loader

# Two kinds of images that differ by a bright square, one label in five wrong.
images = 0.3 * torch.rand(256, 3, 32, 32)
truth = torch.arange(256) % 2
images[truth == 1, :, 8:20, 8:20] += 0.6
labels = torch.where(torch.rand(256) < 0.2, 1 - truth, truth)

method = create("disco", channels=3, size=32)
optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
epochs = 3
for epoch in range(epochs):
    method.set_progress(epoch / epochs)
    for batch in make_loader(TensorDataset(images, labels), batch_size=64, seed=epoch):
        out = method.step(batch)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    print(f"epoch {epoch}  loss {out.loss.item():.3f}")

features = method.encode(images)
print("features", tuple(features.shape))
